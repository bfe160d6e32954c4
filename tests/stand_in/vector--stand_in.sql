-- A stand-in for pgvector: types of its names and layouts, the operators, functions and casts whose
-- signatures decide what a statement with both extensions means. So the bridge can be tested on
-- a server for which pgvector is not packaged; `make test-pgvector` tests it with pgvector itself.
--
-- halfvec is served by the functions of mrlvec, whose bytes it shares. The text form of vector is
-- that of bytea: nothing here computes with one but by way of halfvec.

CREATE TYPE halfvec;
CREATE FUNCTION halfvec_in(cstring, oid, integer) RETURNS halfvec AS '$libdir/pg_mrl', 'mrlvec_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION halfvec_out(halfvec) RETURNS cstring AS '$libdir/pg_mrl', 'mrlvec_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION halfvec_typmod_in(cstring[]) RETURNS integer AS '$libdir/pg_mrl', 'mrlvec_typmod_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION halfvec_recv(internal, oid, integer) RETURNS halfvec AS '$libdir/pg_mrl', 'mrlvec_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION halfvec_send(halfvec) RETURNS bytea AS '$libdir/pg_mrl', 'mrlvec_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE TYPE halfvec (
    INPUT = halfvec_in, OUTPUT = halfvec_out, TYPMOD_IN = halfvec_typmod_in,
    RECEIVE = halfvec_recv, SEND = halfvec_send, STORAGE = external
);

CREATE TYPE vector;
CREATE FUNCTION vector_in(cstring) RETURNS vector AS 'byteain' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_out(vector) RETURNS cstring AS 'byteaout' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;
CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, STORAGE = external);

-- Casts: a length is checked, never cut; vector to halfvec is implicit.
CREATE FUNCTION halfvec(halfvec, integer, boolean) RETURNS halfvec AS '$libdir/pg_mrl', 'mrlvec_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE CAST (halfvec AS halfvec) WITH FUNCTION halfvec(halfvec, integer, boolean) AS IMPLICIT;
CREATE FUNCTION vector_to_halfvec(vector) RETURNS halfvec AS '$libdir/pg_mrl', 'vector_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE CAST (vector AS halfvec) WITH FUNCTION vector_to_halfvec(vector) AS IMPLICIT;
CREATE FUNCTION array_to_halfvec(real[]) RETURNS halfvec AS '$libdir/pg_mrl', 'array_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE CAST (real[] AS halfvec) WITH FUNCTION array_to_halfvec(real[]) AS ASSIGNMENT;

-- Functions and operators of the same names on all of its types.
CREATE FUNCTION l2_distance(halfvec, halfvec) RETURNS double precision AS '$libdir/pg_mrl', 'mrlvec_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR <-> (LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = l2_distance, COMMUTATOR = <->);
CREATE FUNCTION l2_distance(vector, vector) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS 'BEGIN RETURN $1::halfvec <-> $2::halfvec; END';
CREATE OPERATOR <-> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = l2_distance, COMMUTATOR = <->);
CREATE FUNCTION cosine_distance(halfvec, halfvec) RETURNS double precision AS '$libdir/pg_mrl', 'mrlvec_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR <=> (LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = cosine_distance, COMMUTATOR = <=>);
CREATE FUNCTION cosine_distance(vector, vector) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS 'BEGIN RETURN $1::halfvec <=> $2::halfvec; END';
CREATE OPERATOR <=> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = cosine_distance, COMMUTATOR = <=>);
CREATE FUNCTION l1_distance(halfvec, halfvec) RETURNS double precision AS '$libdir/pg_mrl', 'mrlvec_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR <+> (LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = l1_distance, COMMUTATOR = <+>);
CREATE FUNCTION l1_distance(vector, vector) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS 'BEGIN RETURN $1::halfvec <+> $2::halfvec; END';
CREATE OPERATOR <+> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = l1_distance, COMMUTATOR = <+>);
CREATE FUNCTION halfvec_negative_inner_product(halfvec, halfvec) RETURNS double precision AS '$libdir/pg_mrl', 'mrlvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR <#> (LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = halfvec_negative_inner_product, COMMUTATOR = <#>);
CREATE FUNCTION vector_negative_inner_product(vector, vector) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS 'BEGIN RETURN $1::halfvec <#> $2::halfvec; END';
CREATE OPERATOR <#> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_negative_inner_product, COMMUTATOR = <#>);
CREATE FUNCTION inner_product(halfvec, halfvec) RETURNS double precision AS '$libdir/pg_mrl', 'mrlvec_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_dims(halfvec) RETURNS integer AS '$libdir/pg_mrl', 'mrlvec_dims' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l2_norm(halfvec) RETURNS double precision AS '$libdir/pg_mrl', 'mrlvec_l2_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l2_normalize(halfvec) RETURNS halfvec AS '$libdir/pg_mrl', 'mrlvec_l2_normalize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION subvector(halfvec, integer, integer) RETURNS halfvec AS '$libdir/pg_mrl', 'mrlvec_subvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION binary_quantize(halfvec) RETURNS bit AS '$libdir/pg_mrl', 'mrlvec_binary_quantize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION halfvec_add(halfvec, halfvec) RETURNS halfvec AS '$libdir/pg_mrl', 'mrlvec_add' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR + (LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = halfvec_add, COMMUTATOR = +);
CREATE FUNCTION hamming_distance(bit, bit) RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN length(replace(($1 # $2)::text, '0', ''));
CREATE OPERATOR <~> (LEFTARG = bit, RIGHTARG = bit, FUNCTION = hamming_distance, COMMUTATOR = <~>);
