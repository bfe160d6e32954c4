-- pg_mrl_pgvector 0.1.0: casts and operators between mrlvec and pgvector's types.
--
-- A halfvec and a mrlvec are the same bytes, so the same functions of the library serve both. A
-- vector is rounded to a mrlvec first: comparing with it gives what comparing with its cast gives.

\echo Use "CREATE EXTENSION pg_mrl_pgvector" to load this file. \quit

-- Casts -----------------------------------------------------------------------------------------

-- Implicit in one direction only: were both implicit, emb <#> '[...]' would be ambiguous.
CREATE CAST (mrlvec AS halfvec) WITHOUT FUNCTION AS IMPLICIT;
COMMENT ON CAST (mrlvec AS halfvec) IS 'the same bytes';

CREATE CAST (halfvec AS mrlvec) WITHOUT FUNCTION AS ASSIGNMENT;
COMMENT ON CAST (halfvec AS mrlvec) IS 'the same bytes';

CREATE FUNCTION vector_to_mrlvec(vector) RETURNS mrlvec
    AS 'MODULE_PATHNAME', 'vector_to_mrlvec' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_to_mrlvec(vector) IS 'vector to mrlvec, each component rounded to the nearest half';

CREATE CAST (vector AS mrlvec) WITH FUNCTION vector_to_mrlvec(vector) AS ASSIGNMENT;
COMMENT ON CAST (vector AS mrlvec) IS 'each component rounded to the nearest half';

-- Operators -------------------------------------------------------------------------------------

CREATE FUNCTION mrlvec_negative_inner_product(mrlvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(mrlvec, halfvec) IS 'implementation of <#>';

CREATE FUNCTION mrlvec_negative_inner_product(halfvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(halfvec, mrlvec) IS 'implementation of <#>';

CREATE FUNCTION mrlvec_negative_inner_product(mrlvec, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_vector_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(mrlvec, vector) IS 'implementation of <#>';

CREATE FUNCTION mrlvec_negative_inner_product(vector, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_mrlvec_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_negative_inner_product(vector, mrlvec) IS 'implementation of <#>';

CREATE OPERATOR <#> (
    LEFTARG = mrlvec, RIGHTARG = halfvec, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (mrlvec, halfvec) IS 'negative inner product; the longer vector is truncated to the shorter';

CREATE OPERATOR <#> (
    LEFTARG = halfvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (halfvec, mrlvec) IS 'negative inner product; the longer vector is truncated to the shorter';

CREATE OPERATOR <#> (
    LEFTARG = mrlvec, RIGHTARG = vector, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (mrlvec, vector) IS 'negative inner product; the longer vector is truncated to the shorter';

CREATE OPERATOR <#> (
    LEFTARG = vector, RIGHTARG = mrlvec, FUNCTION = mrlvec_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (vector, mrlvec) IS 'negative inner product; the longer vector is truncated to the shorter';

CREATE FUNCTION mrlvec_cosine_distance(mrlvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_cosine_distance(mrlvec, halfvec) IS 'implementation of <=>';

CREATE FUNCTION mrlvec_cosine_distance(halfvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_cosine_distance(halfvec, mrlvec) IS 'implementation of <=>';

CREATE FUNCTION mrlvec_cosine_distance(mrlvec, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_vector_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_cosine_distance(mrlvec, vector) IS 'implementation of <=>';

CREATE FUNCTION mrlvec_cosine_distance(vector, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_mrlvec_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_cosine_distance(vector, mrlvec) IS 'implementation of <=>';

CREATE OPERATOR <=> (
    LEFTARG = mrlvec, RIGHTARG = halfvec, FUNCTION = mrlvec_cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (mrlvec, halfvec) IS 'cosine distance; the longer vector is truncated to the shorter';

CREATE OPERATOR <=> (
    LEFTARG = halfvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (halfvec, mrlvec) IS 'cosine distance; the longer vector is truncated to the shorter';

CREATE OPERATOR <=> (
    LEFTARG = mrlvec, RIGHTARG = vector, FUNCTION = mrlvec_cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (mrlvec, vector) IS 'cosine distance; the longer vector is truncated to the shorter';

CREATE OPERATOR <=> (
    LEFTARG = vector, RIGHTARG = mrlvec, FUNCTION = mrlvec_cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (vector, mrlvec) IS 'cosine distance; the longer vector is truncated to the shorter';

CREATE FUNCTION mrlvec_l2_distance(mrlvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l2_distance(mrlvec, halfvec) IS 'implementation of <->';

CREATE FUNCTION mrlvec_l2_distance(halfvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l2_distance(halfvec, mrlvec) IS 'implementation of <->';

CREATE FUNCTION mrlvec_l2_distance(mrlvec, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_vector_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l2_distance(mrlvec, vector) IS 'implementation of <->';

CREATE FUNCTION mrlvec_l2_distance(vector, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_mrlvec_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l2_distance(vector, mrlvec) IS 'implementation of <->';

CREATE OPERATOR <-> (
    LEFTARG = mrlvec, RIGHTARG = halfvec, FUNCTION = mrlvec_l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (mrlvec, halfvec) IS 'Euclidean distance';

CREATE OPERATOR <-> (
    LEFTARG = halfvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (halfvec, mrlvec) IS 'Euclidean distance';

CREATE OPERATOR <-> (
    LEFTARG = mrlvec, RIGHTARG = vector, FUNCTION = mrlvec_l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (mrlvec, vector) IS 'Euclidean distance';

CREATE OPERATOR <-> (
    LEFTARG = vector, RIGHTARG = mrlvec, FUNCTION = mrlvec_l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (vector, mrlvec) IS 'Euclidean distance';

CREATE FUNCTION mrlvec_l1_distance(mrlvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l1_distance(mrlvec, halfvec) IS 'implementation of <+>';

CREATE FUNCTION mrlvec_l1_distance(halfvec, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l1_distance(halfvec, mrlvec) IS 'implementation of <+>';

CREATE FUNCTION mrlvec_l1_distance(mrlvec, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'mrlvec_vector_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l1_distance(mrlvec, vector) IS 'implementation of <+>';

CREATE FUNCTION mrlvec_l1_distance(vector, mrlvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_mrlvec_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mrlvec_l1_distance(vector, mrlvec) IS 'implementation of <+>';

CREATE OPERATOR <+> (
    LEFTARG = mrlvec, RIGHTARG = halfvec, FUNCTION = mrlvec_l1_distance, COMMUTATOR = <+>
);
COMMENT ON OPERATOR <+> (mrlvec, halfvec) IS 'taxicab distance';

CREATE OPERATOR <+> (
    LEFTARG = halfvec, RIGHTARG = mrlvec, FUNCTION = mrlvec_l1_distance, COMMUTATOR = <+>
);
COMMENT ON OPERATOR <+> (halfvec, mrlvec) IS 'taxicab distance';

CREATE OPERATOR <+> (
    LEFTARG = mrlvec, RIGHTARG = vector, FUNCTION = mrlvec_l1_distance, COMMUTATOR = <+>
);
COMMENT ON OPERATOR <+> (mrlvec, vector) IS 'taxicab distance';

CREATE OPERATOR <+> (
    LEFTARG = vector, RIGHTARG = mrlvec, FUNCTION = mrlvec_l1_distance, COMMUTATOR = <+>
);
COMMENT ON OPERATOR <+> (vector, mrlvec) IS 'taxicab distance';
