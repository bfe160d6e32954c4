-- pg_mrl 0.1.0: every SQL object of the extension, in the order in which they need each other.
--
-- Functions are C-language functions of the library, found under the names given here. No object
-- names a schema: the extension can live in any, and a dump restores with an empty search_path.

\echo Use "CREATE EXTENSION pg_mrl" to load this file. \quit

-- The type --------------------------------------------------------------------------------------

CREATE TYPE mrlvec;

CREATE FUNCTION mrlvec_in(cstring, oid, integer) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_in(cstring, oid, integer) IS 'text input of mrlvec';

CREATE FUNCTION mrlvec_out(mrlvec) RETURNS cstring
    AS 'MODULE_PATHNAME', 'mrlvec_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_out(mrlvec) IS 'text output of mrlvec';

CREATE FUNCTION mrlvec_typmod_in(cstring[]) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrlvec_typmod_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_typmod_in(cstring[]) IS 'reads the length in mrlvec(n)';

CREATE FUNCTION mrlvec_recv(internal, oid, integer) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_recv(internal, oid, integer) IS 'binary input of mrlvec';

CREATE FUNCTION mrlvec_send(mrlvec) RETURNS bytea
    AS 'MODULE_PATHNAME', 'mrlvec_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_send(mrlvec) IS 'binary output of mrlvec';

-- Storage main: the text beside a vector leaves the row first, so that reading a vector seldom
-- means fetching it from a TOAST table.
CREATE TYPE mrlvec (
    INPUT = mrlvec_in, OUTPUT = mrlvec_out, TYPMOD_IN = mrlvec_typmod_in,
    RECEIVE = mrlvec_recv, SEND = mrlvec_send, STORAGE = main
);
COMMENT ON TYPE mrlvec IS 'half-precision vector of 1 to 16000 dimensions: mrlvec(n)';

-- Casts -----------------------------------------------------------------------------------------

CREATE FUNCTION mrlvec_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'mrlvec_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_support(internal) IS 'planner support: leaves out a length check whose outcome is known';

CREATE FUNCTION mrlvec(mrlvec, integer, boolean) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SUPPORT mrlvec_support;
COMMENT ON FUNCTION mrlvec(mrlvec, integer, boolean) IS
    'first components scaled to length 1 (explicit cast), or the vector itself if it has that length';

CREATE CAST (mrlvec AS mrlvec) WITH FUNCTION mrlvec(mrlvec, integer, boolean) AS IMPLICIT;
COMMENT ON CAST (mrlvec AS mrlvec) IS
    'explicit: truncate and normalise; on assignment: check the length';

CREATE FUNCTION array_to_mrlvec(integer[]) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'array_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION array_to_mrlvec(integer[]) IS 'integer[] to mrlvec, each number rounded to the nearest half';

CREATE CAST (integer[] AS mrlvec) WITH FUNCTION array_to_mrlvec(integer[]) AS ASSIGNMENT;
COMMENT ON CAST (integer[] AS mrlvec) IS 'each number rounded to the nearest half';

CREATE FUNCTION array_to_mrlvec(real[]) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'array_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION array_to_mrlvec(real[]) IS 'real[] to mrlvec, each number rounded to the nearest half';

CREATE CAST (real[] AS mrlvec) WITH FUNCTION array_to_mrlvec(real[]) AS ASSIGNMENT;
COMMENT ON CAST (real[] AS mrlvec) IS 'each number rounded to the nearest half';

CREATE FUNCTION array_to_mrlvec(double precision[]) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'array_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION array_to_mrlvec(double precision[]) IS 'double precision[] to mrlvec, each number rounded to the nearest half';

CREATE CAST (double precision[] AS mrlvec) WITH FUNCTION array_to_mrlvec(double precision[]) AS ASSIGNMENT;
COMMENT ON CAST (double precision[] AS mrlvec) IS 'each number rounded to the nearest half';

CREATE FUNCTION array_to_mrlvec(numeric[]) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'array_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION array_to_mrlvec(numeric[]) IS 'numeric[] to mrlvec, each number rounded to the nearest half';

CREATE CAST (numeric[] AS mrlvec) WITH FUNCTION array_to_mrlvec(numeric[]) AS ASSIGNMENT;
COMMENT ON CAST (numeric[] AS mrlvec) IS 'each number rounded to the nearest half';

CREATE FUNCTION mrlvec_to_float4_array(mrlvec) RETURNS real[]
    AS 'MODULE_PATHNAME', 'mrlvec_to_float4_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_to_float4_array(mrlvec) IS 'mrlvec to real[], exactly';

CREATE CAST (mrlvec AS real[]) WITH FUNCTION mrlvec_to_float4_array(mrlvec) AS ASSIGNMENT;
COMMENT ON CAST (mrlvec AS real[]) IS 'exact';

CREATE FUNCTION mrlvec_to_float8_array(mrlvec) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'mrlvec_to_float8_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_to_float8_array(mrlvec) IS 'mrlvec to double precision[], exactly';

CREATE CAST (mrlvec AS double precision[]) WITH FUNCTION mrlvec_to_float8_array(mrlvec) AS ASSIGNMENT;
COMMENT ON CAST (mrlvec AS double precision[]) IS 'exact';

CREATE FUNCTION mrlvec_to_bit(mrlvec, integer, boolean) RETURNS bit
    AS 'MODULE_PATHNAME', 'mrlvec_to_bit' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_to_bit(mrlvec, integer, boolean) IS 'signs of the first n components; on assignment of all of them: 1 where greater than 0';

CREATE CAST (mrlvec AS bit) WITH FUNCTION mrlvec_to_bit(mrlvec, integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (mrlvec AS bit) IS 'signs of the first n components; on assignment of all of them: 1 where greater than 0';

CREATE FUNCTION mrlvec_to_varbit(mrlvec, integer, boolean) RETURNS bit varying
    AS 'MODULE_PATHNAME', 'mrlvec_to_varbit' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_to_varbit(mrlvec, integer, boolean) IS 'signs of all components, or of the first n: 1 where greater than 0';

CREATE CAST (mrlvec AS bit varying) WITH FUNCTION mrlvec_to_varbit(mrlvec, integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (mrlvec AS bit varying) IS 'signs of all components, or of the first n: 1 where greater than 0';

-- Functions -------------------------------------------------------------------------------------

CREATE FUNCTION vector_dims(mrlvec) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrlvec_dims' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_dims(mrlvec) IS 'number of dimensions';

CREATE FUNCTION l2_norm(mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l2_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_norm(mrlvec) IS 'Euclidean length';

CREATE FUNCTION l2_normalize(mrlvec) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_l2_normalize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_normalize(mrlvec) IS 'scaled to length 1; a zero vector stays zero';

CREATE FUNCTION subvector(mrlvec, integer, integer) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_subvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION subvector(mrlvec, integer, integer) IS 'components from a start (counted from 1), as many as the count; not scaled';

CREATE FUNCTION binary_quantize(mrlvec) RETURNS bit
    AS 'MODULE_PATHNAME', 'mrlvec_binary_quantize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION binary_quantize(mrlvec) IS 'signs of all components: 1 where greater than 0';

CREATE FUNCTION inner_product(mrlvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION inner_product(mrlvec, mrlvec) IS 'inner product, at the shared leading dimensions';

CREATE FUNCTION cosine_distance(mrlvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cosine_distance(mrlvec, mrlvec) IS 'cosine distance, at the shared leading dimensions';

CREATE FUNCTION l2_distance(mrlvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_distance(mrlvec, mrlvec) IS 'Euclidean distance';

CREATE FUNCTION l1_distance(mrlvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l1_distance(mrlvec, mrlvec) IS 'taxicab distance';

CREATE FUNCTION sign_hamming_distance(mrlvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_sign_hamming_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sign_hamming_distance(mrlvec, mrlvec) IS 'number of shared leading components that differ in sign';

-- Distance operators ----------------------------------------------------------------------------

CREATE FUNCTION mrlvec_negative_inner_product(mrlvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(mrlvec, mrlvec) IS 'implementation of <#>';

CREATE FUNCTION mrlvec_negative_inner_product(mrlvec, bit) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_bit_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(mrlvec, bit) IS 'implementation of <#> with stored signs';

CREATE FUNCTION mrlvec_negative_inner_product(bit, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'bit_mrlvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(bit, mrlvec) IS 'implementation of <#> with stored signs';

CREATE OPERATOR <#> (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (mrlvec, mrlvec) IS 'negative inner product; the longer vector is truncated to the shorter';

CREATE OPERATOR <=> (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (mrlvec, mrlvec) IS 'cosine distance; the longer vector is truncated to the shorter';

CREATE OPERATOR <-> (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (mrlvec, mrlvec) IS 'Euclidean distance';

CREATE OPERATOR <+> (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = l1_distance, COMMUTATOR = <+>
);
COMMENT ON OPERATOR <+> (mrlvec, mrlvec) IS 'taxicab distance';

CREATE OPERATOR <#> (
    LEFTARG = mrlvec, RIGHTARG = bit, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (mrlvec, bit) IS 'negative inner product with stored signs, read as a vector of length 1';

CREATE OPERATOR <#> (
    LEFTARG = bit, RIGHTARG = mrlvec, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (bit, mrlvec) IS 'negative inner product of stored signs, read as a vector of length 1';

-- Arithmetic ------------------------------------------------------------------------------------

CREATE FUNCTION mrlvec_add(mrlvec, mrlvec) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_add' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_add(mrlvec, mrlvec) IS 'implementation of +';

CREATE OPERATOR + (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_add, COMMUTATOR = +
);
COMMENT ON OPERATOR + (mrlvec, mrlvec) IS 'component-wise sum';

CREATE FUNCTION mrlvec_sub(mrlvec, mrlvec) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_sub' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_sub(mrlvec, mrlvec) IS 'implementation of -';

CREATE OPERATOR - (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_sub
);
COMMENT ON OPERATOR - (mrlvec, mrlvec) IS 'component-wise difference';

CREATE FUNCTION mrlvec_mul(mrlvec, mrlvec) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_mul' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_mul(mrlvec, mrlvec) IS 'implementation of *';

CREATE OPERATOR * (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_mul, COMMUTATOR = *
);
COMMENT ON OPERATOR * (mrlvec, mrlvec) IS 'component-wise product';

CREATE FUNCTION mrlvec_concat(mrlvec, mrlvec) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_concat' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_concat(mrlvec, mrlvec) IS 'implementation of ||';

CREATE OPERATOR || (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_concat
);
COMMENT ON OPERATOR || (mrlvec, mrlvec) IS 'concatenation';

-- Comparison, B-tree and hash -------------------------------------------------------------------

CREATE FUNCTION mrlvec_lt(mrlvec, mrlvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'mrlvec_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_lt(mrlvec, mrlvec) IS 'implementation of <';

CREATE OPERATOR < (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_lt,
    COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (mrlvec, mrlvec) IS 'less than';

CREATE FUNCTION mrlvec_le(mrlvec, mrlvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'mrlvec_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_le(mrlvec, mrlvec) IS 'implementation of <=';

CREATE OPERATOR <= (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_le,
    COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (mrlvec, mrlvec) IS 'less than or equal';

CREATE FUNCTION mrlvec_eq(mrlvec, mrlvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'mrlvec_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_eq(mrlvec, mrlvec) IS 'implementation of =';

CREATE OPERATOR = (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR = (mrlvec, mrlvec) IS 'equal';

CREATE FUNCTION mrlvec_ne(mrlvec, mrlvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'mrlvec_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_ne(mrlvec, mrlvec) IS 'implementation of <>';

CREATE OPERATOR <> (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (mrlvec, mrlvec) IS 'not equal';

CREATE FUNCTION mrlvec_ge(mrlvec, mrlvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'mrlvec_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_ge(mrlvec, mrlvec) IS 'implementation of >=';

CREATE OPERATOR >= (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_ge,
    COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (mrlvec, mrlvec) IS 'greater than or equal';

CREATE FUNCTION mrlvec_gt(mrlvec, mrlvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'mrlvec_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_gt(mrlvec, mrlvec) IS 'implementation of >';

CREATE OPERATOR > (
    LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_gt,
    COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (mrlvec, mrlvec) IS 'greater than';

CREATE FUNCTION mrlvec_cmp(mrlvec, mrlvec) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrlvec_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_cmp(mrlvec, mrlvec) IS 'less, equal or greater: -1, 0, 1';

CREATE FUNCTION mrlvec_hash(mrlvec) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrlvec_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_hash(mrlvec) IS 'hash';

CREATE FUNCTION mrlvec_hash_extended(mrlvec, bigint) RETURNS bigint
    AS 'MODULE_PATHNAME', 'mrlvec_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_hash_extended(mrlvec, bigint) IS 'hash with a seed';

CREATE OPERATOR FAMILY mrlvec_ops USING btree;
COMMENT ON OPERATOR FAMILY mrlvec_ops USING btree IS 'order of mrlvec: by components, then by length';

CREATE OPERATOR CLASS mrlvec_ops DEFAULT FOR TYPE mrlvec USING btree FAMILY mrlvec_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 mrlvec_cmp(mrlvec, mrlvec);
COMMENT ON OPERATOR CLASS mrlvec_ops USING btree IS 'order of mrlvec: by components, then by length';

CREATE OPERATOR FAMILY mrlvec_ops USING hash;
COMMENT ON OPERATOR FAMILY mrlvec_ops USING hash IS 'equality of mrlvec';

CREATE OPERATOR CLASS mrlvec_ops DEFAULT FOR TYPE mrlvec USING hash FAMILY mrlvec_ops AS
    OPERATOR 1 =,
    FUNCTION 1 mrlvec_hash(mrlvec), FUNCTION 2 mrlvec_hash_extended(mrlvec, bigint);
COMMENT ON OPERATOR CLASS mrlvec_ops USING hash IS 'equality of mrlvec';

-- Aggregates ------------------------------------------------------------------------------------

CREATE FUNCTION mrlvec_accum(double precision[], mrlvec) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'mrlvec_accum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_accum(double precision[], mrlvec) IS 'adds a vector to the state of sum and avg';

CREATE FUNCTION mrlvec_combine(double precision[], double precision[]) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'mrlvec_combine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_combine(double precision[], double precision[]) IS 'adds two states of sum and avg';

CREATE FUNCTION mrlvec_sum(double precision[]) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_sum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_sum(double precision[]) IS 'result of sum';

CREATE AGGREGATE sum(mrlvec) (
    SFUNC = mrlvec_accum, STYPE = double precision[], FINALFUNC = mrlvec_sum,
    COMBINEFUNC = mrlvec_combine, INITCOND = '{0}', PARALLEL = SAFE
);
COMMENT ON AGGREGATE sum(mrlvec) IS 'component-wise sum, kept in double precision';

CREATE FUNCTION mrlvec_avg(double precision[]) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrlvec_avg' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_avg(double precision[]) IS 'result of avg';

CREATE AGGREGATE avg(mrlvec) (
    SFUNC = mrlvec_accum, STYPE = double precision[], FINALFUNC = mrlvec_avg,
    COMBINEFUNC = mrlvec_combine, INITCOND = '{0}', PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(mrlvec) IS 'component-wise average, kept in double precision';

-- The index --------------------------------------------------------------------------------------

CREATE FUNCTION mrl_handler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'mrl_handler' LANGUAGE C;
COMMENT ON FUNCTION mrl_handler(internal) IS 'handler of the access method mrl';

CREATE ACCESS METHOD mrl TYPE INDEX HANDLER mrl_handler;
COMMENT ON ACCESS METHOD mrl IS 'nearest vectors: codes in Matryoshka layers, then exact distances';

-- A class's support function 1 tells by what its rows are compared.

CREATE FUNCTION mrl_index_inner_product(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_index_inner_product' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mrl_index_inner_product(internal) IS 'support of mrlvec_ip_ops';

CREATE FUNCTION mrl_index_cosine(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_index_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mrl_index_cosine(internal) IS 'support of mrlvec_cosine_ops';

CREATE FUNCTION mrl_index_l2(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_index_l2' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mrl_index_l2(internal) IS 'support of mrlvec_l2_ops';

CREATE OPERATOR FAMILY mrlvec_ip_ops USING mrl;
COMMENT ON OPERATOR FAMILY mrlvec_ip_ops USING mrl IS 'inner product, queries of any dimension';

CREATE OPERATOR CLASS mrlvec_ip_ops DEFAULT FOR TYPE mrlvec USING mrl FAMILY mrlvec_ip_ops AS
    OPERATOR 1 <#> (mrlvec, mrlvec) FOR ORDER BY float_ops,
    FUNCTION 1 mrl_index_inner_product(internal);
COMMENT ON OPERATOR CLASS mrlvec_ip_ops USING mrl IS 'inner product, queries of any dimension';

CREATE OPERATOR FAMILY mrlvec_cosine_ops USING mrl;
COMMENT ON OPERATOR FAMILY mrlvec_cosine_ops USING mrl IS 'cosine distance, queries of any dimension';

CREATE OPERATOR CLASS mrlvec_cosine_ops FOR TYPE mrlvec USING mrl FAMILY mrlvec_cosine_ops AS
    OPERATOR 1 <=> (mrlvec, mrlvec) FOR ORDER BY float_ops,
    FUNCTION 1 mrl_index_cosine(internal);
COMMENT ON OPERATOR CLASS mrlvec_cosine_ops USING mrl IS 'cosine distance, queries of any dimension';

CREATE OPERATOR FAMILY mrlvec_l2_ops USING mrl;
COMMENT ON OPERATOR FAMILY mrlvec_l2_ops USING mrl IS 'Euclidean distance';

CREATE OPERATOR CLASS mrlvec_l2_ops FOR TYPE mrlvec USING mrl FAMILY mrlvec_l2_ops AS
    OPERATOR 1 <-> (mrlvec, mrlvec) FOR ORDER BY float_ops,
    FUNCTION 1 mrl_index_l2(internal);
COMMENT ON OPERATOR CLASS mrlvec_l2_ops USING mrl IS 'Euclidean distance';

CREATE FUNCTION mrl_index_info(
    index regclass, OUT format_version integer, OUT dimensions integer, OUT coarse_dims integer,
    OUT keeps_vectors boolean, OUT lists integer, OUT retired_lists integer, OUT lists_made integer, OUT rows bigint,
    OUT references_to_rows bigint, OUT null_rows bigint, OUT zero_rows bigint,
    OUT smallest_list bigint, OUT largest_list bigint, OUT pages bigint,
    OUT bytes_per_row double precision, OUT fill double precision, OUT frames_per_list double precision
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'mrl_index_info' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    ROWS 1;
COMMENT ON FUNCTION mrl_index_info(regclass) IS 'what an mrl index consists of';

CREATE FUNCTION mrl_index_lists(
    index regclass, OUT list integer, OUT rows bigint, OUT references_to_rows bigint, OUT fill double precision,
    OUT frames integer
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'mrl_index_lists' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    ROWS 100;
COMMENT ON FUNCTION mrl_index_lists(regclass) IS 'what each list of an mrl index consists of';

CREATE FUNCTION mrl_index_check(index regclass, heap boolean DEFAULT false, OUT problem text) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'mrl_index_check' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    ROWS 1;
COMMENT ON FUNCTION mrl_index_check(regclass, boolean) IS 'what is wrong with an mrl index: no row where nothing is; heap: also rows of the table that it lacks';

CREATE FUNCTION mrl_scan_stats(
    OUT index regclass, OUT rounds bigint, OUT lists_probed bigint, OUT codes_scored bigint,
    OUT codes_finished bigint, OUT rows_reranked bigint, OUT rows_returned bigint
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'mrl_scan_stats' LANGUAGE C VOLATILE PARALLEL RESTRICTED
    ROWS 1;
COMMENT ON FUNCTION mrl_scan_stats() IS 'what this session''s latest scan of an mrl index has done';

-- Runs as the caller, with the caller's privileges and row-level security: it sees no more than queries do.
CREATE FUNCTION mrl_recall(
    index regclass, sample integer DEFAULT 100, k integer DEFAULT 10, dim integer DEFAULT NULL,
    OUT recall double precision, OUT index_milliseconds double precision, OUT exact_milliseconds double precision
) LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    schema text := (SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_mrl');
    settings text[] := '{enable_seqscan,enable_sort,enable_indexscan,enable_bitmapscan}';
    former text[] := ARRAY(SELECT current_setting(name) FROM unnest(settings) WITH ORDINALITY AS s(name, place) ORDER BY place);
    target record;
    asked text;     -- what of a row is taken as a query
    sampling text;  -- the statement that draws the queries
    nearest text;   -- the statement that the index answers
    query record;
    plan jsonb;
    started timestamptz;
    near double precision[];
    exact double precision[];
    sampled bigint := 0;
    hits bigint := 0;
    wanted bigint := 0;
    index_time interval := '0';
    exact_time interval := '0';
BEGIN
    SELECT c.relname AS name,
            -- Of an index of a partitioned table a plan names the partitions'.
            (SELECT jsonb_agg(relname) FROM pg_class WHERE oid = index OR oid IN (SELECT relid FROM pg_partition_tree(index))) AS names,
            i.indrelid::regclass AS "table", pg_get_indexdef(i.indexrelid, 1, false) AS indexed,
            concat(' AND (' || pg_get_expr(i.indpred, i.indrelid) || ')') AS condition,
            o.oprname AS operator, format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS qualified,
            format_type(o.oprright, NULL) AS type, t.typname
        INTO target
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'mrl'
        JOIN pg_opclass opclass ON opclass.oid = i.indclass[0] JOIN pg_amop m ON m.amopfamily = opclass.opcfamily AND m.amopstrategy = 1
        JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace JOIN pg_type t ON t.oid = o.oprright
        WHERE i.indexrelid = index;
    IF NOT FOUND THEN
        RAISE EXCEPTION '"%" is not an mrl index', index USING ERRCODE = 'wrong_object_type';
    END IF;
    IF dim IS NOT NULL AND (target.operator = '<->' OR target.typname <> 'mrlvec') THEN
        RAISE EXCEPTION 'index "%" answers queries of its own dimension only', target.name
            USING ERRCODE = 'feature_not_supported', HINT = 'Leave dim out.';
    END IF;
    IF sample IS NULL OR k IS NULL OR sample < 1 OR k < 1 THEN
        RAISE EXCEPTION 'sample and k must be at least 1' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    asked := CASE WHEN dim IS NULL THEN target.indexed
        ELSE format('%1$I.l2_normalize(%1$I.subvector(%2$s, 1, %3$s))', schema, target.indexed, dim) END;
    sampling := format('SELECT (%1$s)::text AS vector FROM %2$s WHERE %3$s IS NOT NULL%4$s ORDER BY random() LIMIT %5$s',
        asked, target."table", target.indexed, target.condition, sample);
    nearest := format('SELECT array_agg(distance) FROM (SELECT %1$s %2$s $1::%3$s AS distance FROM %4$s WHERE %1$s IS NOT NULL%5$s ORDER BY %1$s %2$s $1::%3$s LIMIT %6$s) nearest',
        target.indexed, target.qualified, target.type, target."table", target.condition, k);
    FOR query IN EXECUTE sampling LOOP
        PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true),
            set_config('enable_indexscan', 'on', true);
        IF plan IS NULL THEN
            EXECUTE 'EXPLAIN (FORMAT JSON) ' || nearest INTO plan USING query.vector;
            IF NOT jsonb_path_exists(plan, '$.**."Index Name" ? (@ == $names[*])', jsonb_build_object('names', target.names)) THEN
                RAISE EXCEPTION 'the planner does not use index "%"', target.name
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                        DETAIL = 'It is not valid, or another index of the table answers the same queries.';
            END IF;
        END IF;
        started := clock_timestamp();
        EXECUTE nearest INTO near USING query.vector;
        index_time := index_time + (clock_timestamp() - started);
        PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true),
            set_config('enable_indexscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
        started := clock_timestamp();
        EXECUTE nearest INTO exact USING query.vector;
        exact_time := exact_time + (clock_timestamp() - started);
        sampled := sampled + 1;
        wanted := wanted + coalesce(cardinality(exact), 0);
        hits := hits + (SELECT count(*) FROM unnest(near) distance WHERE distance <= exact[cardinality(exact)]);
    END LOOP;
    FOR place IN 1 .. cardinality(settings) LOOP
        PERFORM set_config(settings[place], former[place], true);
    END LOOP;
    recall := hits / nullif(wanted, 0)::double precision;
    index_milliseconds := extract(epoch FROM index_time) * 1000 / nullif(sampled, 0);
    exact_milliseconds := extract(epoch FROM exact_time) * 1000 / nullif(sampled, 0);
END
$function$;
COMMENT ON FUNCTION mrl_recall(regclass, integer, integer, integer) IS 'share of the k nearest rows that an mrl index finds, and milliseconds, for some of the table''s own rows as queries, at dim leading dimensions (NULL: all)';

REVOKE ALL ON FUNCTION mrl_index_info(regclass), mrl_index_lists(regclass), mrl_index_check(regclass, boolean) FROM PUBLIC;

-- The encoder -----------------------------------------------------------------------------------

-- With the default model the result depends on a setting: STABLE. With a named model it depends on
-- the arguments and on the files behind the name, which do not change while anything stored
-- depends on them (as a collation does not): IMMUTABLE. The cost makes the planner evaluate cheaper
-- conditions first and project the call after a LIMIT.

CREATE FUNCTION mrl_embed(content text, prefix text, dim integer DEFAULT NULL) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrl_embed_text' LANGUAGE C STABLE PARALLEL SAFE
    COST 100000;
COMMENT ON FUNCTION mrl_embed(text, text, integer) IS 'embedding of a text by the default model: its first dim dimensions (NULL: all), scaled to length 1';

CREATE FUNCTION mrl_embed(content text, prefix text, dim integer, model text) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'mrl_embed_text' LANGUAGE C IMMUTABLE PARALLEL SAFE
    COST 100000;
COMMENT ON FUNCTION mrl_embed(text, text, integer, text) IS 'embedding of a text by a named model: its first dim dimensions (NULL: all), scaled to length 1';

CREATE FUNCTION mrl_embed(contents text[], prefix text, dim integer DEFAULT NULL) RETURNS mrlvec[]
    AS 'MODULE_PATHNAME', 'mrl_embed_texts' LANGUAGE C STABLE PARALLEL SAFE
    COST 100000;
COMMENT ON FUNCTION mrl_embed(text[], text, integer) IS 'embeddings of texts by the default model; a NULL text stays NULL';

CREATE FUNCTION mrl_embed(contents text[], prefix text, dim integer, model text) RETURNS mrlvec[]
    AS 'MODULE_PATHNAME', 'mrl_embed_texts' LANGUAGE C IMMUTABLE PARALLEL SAFE
    COST 100000;
COMMENT ON FUNCTION mrl_embed(text[], text, integer, text) IS 'embeddings of texts by a named model; a NULL text stays NULL';

CREATE FUNCTION mrl_tokens(content text, prefix text, model text DEFAULT NULL) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_tokens' LANGUAGE C STABLE PARALLEL SAFE
    COST 1000;
COMMENT ON FUNCTION mrl_tokens(text, text, text) IS 'number of tokens that a model reads of a text, with its prefix and special tokens, before any is cut off';

CREATE FUNCTION mrl_models(
    OUT name text, OUT architecture text, OUT dimensions integer,
    OUT matryoshka_dimensions integer[], OUT prefixes text[], OUT max_tokens integer,
    OUT bytes bigint, OUT sha256 text, OUT is_default boolean, OUT problem text
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'mrl_models' LANGUAGE C STABLE PARALLEL SAFE
    ROWS 10;
COMMENT ON FUNCTION mrl_models() IS 'the models installed below mrl.model_dir; sha256 is that of the weights';

CREATE FUNCTION mrl_status(
    OUT model text, OUT bytes bigint, OUT texts bigint, OUT tokens bigint,
    OUT forward_passes bigint, OUT cache_hits bigint
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'mrl_status' LANGUAGE C VOLATILE PARALLEL RESTRICTED
    ROWS 10;
COMMENT ON FUNCTION mrl_status() IS 'the models that this session has loaded and what they have done';

-- ETL -------------------------------------------------------------------------------------------

CREATE FUNCTION mrl_embed_trigger() RETURNS trigger
    AS 'MODULE_PATHNAME', 'mrl_embed_trigger' LANGUAGE C;
COMMENT ON FUNCTION mrl_embed_trigger() IS
    'BEFORE INSERT OR UPDATE row trigger that fills a column: (target column, task prefix, source column or template [, dim=...] [, model=...])';
