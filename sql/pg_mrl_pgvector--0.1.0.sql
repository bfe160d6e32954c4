-- pg_mrl_pgvector 0.1.0: casts and operators between mrlvec and pgvector's types.
--
-- A halfvec and a mrlvec are the same bytes, so the same functions of the library serve both. A
-- vector is rounded to a mrlvec first: comparing with it gives what comparing with its cast gives.
-- From release 14 on the operators that an index answers are written out as just that, which the server puts in their
-- place where it plans a query: so an index on a mrlvec column answers a query of another type.

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

-- Release 13 would look the operators up again, by the search path of whoever asks.
DO $do$
DECLARE
    operator text[];
    types text[];
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RETURN;
    END IF;
    FOREACH operator SLICE 1 IN ARRAY
        '{{mrlvec_negative_inner_product, <#>}, {mrlvec_cosine_distance, <=>}, {mrlvec_l2_distance, <->}}'::text[]
    LOOP
        FOREACH types SLICE 1 IN ARRAY '{{mrlvec, halfvec}, {halfvec, mrlvec}, {mrlvec, vector}, {vector, mrlvec}}'::text[] LOOP
            EXECUTE format(
                'CREATE OR REPLACE FUNCTION %s(%s, %s) RETURNS double precision
                 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN $1::mrlvec %s $2::mrlvec',
                operator[1], types[1], types[2], operator[2]
            );
        END LOOP;
    END LOOP;
END
$do$;

-- The index on halfvec --------------------------------------------------------------------------

CREATE FUNCTION mrl_halfvec_index_inner_product(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_halfvec_index_inner_product' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mrl_halfvec_index_inner_product(internal) IS 'support of mrl_halfvec_ip_ops';

CREATE FUNCTION mrl_halfvec_index_cosine(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_halfvec_index_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mrl_halfvec_index_cosine(internal) IS 'support of mrl_halfvec_cosine_ops';

CREATE FUNCTION mrl_halfvec_index_l2(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'mrl_index_l2' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mrl_halfvec_index_l2(internal) IS 'support of mrl_halfvec_l2_ops';

CREATE OPERATOR FAMILY mrl_halfvec_ip_ops USING mrl;
COMMENT ON OPERATOR FAMILY mrl_halfvec_ip_ops USING mrl IS 'inner product of halfvec';

CREATE OPERATOR CLASS mrl_halfvec_ip_ops FOR TYPE halfvec USING mrl FAMILY mrl_halfvec_ip_ops AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 mrl_halfvec_index_inner_product(internal);
COMMENT ON OPERATOR CLASS mrl_halfvec_ip_ops USING mrl IS 'inner product of halfvec';

CREATE OPERATOR FAMILY mrl_halfvec_cosine_ops USING mrl;
COMMENT ON OPERATOR FAMILY mrl_halfvec_cosine_ops USING mrl IS 'cosine distance of halfvec';

CREATE OPERATOR CLASS mrl_halfvec_cosine_ops FOR TYPE halfvec USING mrl FAMILY mrl_halfvec_cosine_ops AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 mrl_halfvec_index_cosine(internal);
COMMENT ON OPERATOR CLASS mrl_halfvec_cosine_ops USING mrl IS 'cosine distance of halfvec';

CREATE OPERATOR FAMILY mrl_halfvec_l2_ops USING mrl;
COMMENT ON OPERATOR FAMILY mrl_halfvec_l2_ops USING mrl IS 'Euclidean distance of halfvec';

CREATE OPERATOR CLASS mrl_halfvec_l2_ops FOR TYPE halfvec USING mrl FAMILY mrl_halfvec_l2_ops AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 mrl_halfvec_index_l2(internal);
COMMENT ON OPERATOR CLASS mrl_halfvec_l2_ops USING mrl IS 'Euclidean distance of halfvec';

-- What it is made of ----------------------------------------------------------------------------

-- Names were looked up by a path that begins with the extension's schema: where others may write to that, they may have
-- put types, operators or functions there that hide those meant.
DO $do$
DECLARE
    foreign_object text;
BEGIN
    SELECT pg_describe_object(used.refclassid, used.refobjid, used.refobjsubid) INTO foreign_object
        FROM pg_extension bridge
        JOIN pg_depend member ON member.refclassid = 'pg_extension'::regclass AND member.refobjid = bridge.oid AND member.deptype = 'e'
        JOIN pg_depend used ON used.classid = member.classid AND used.objid = member.objid
        WHERE bridge.extname = 'pg_mrl_pgvector'
            AND used.refclassid IN ('pg_type'::regclass, 'pg_operator'::regclass, 'pg_proc'::regclass, 'pg_cast'::regclass)
            AND NOT EXISTS (
                SELECT FROM pg_depend owned JOIN pg_extension owner ON owner.oid = owned.refobjid
                WHERE owned.classid = used.refclassid AND owned.objid = used.refobjid AND owned.deptype = 'e'
                    AND owned.refclassid = 'pg_extension'::regclass AND owner.extname IN ('pg_mrl', 'vector', 'pg_mrl_pgvector')
            )
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% hides an object of pg_mrl or vector', foreign_object USING ERRCODE = 'duplicate_object',
            HINT = 'Create the extension in a schema that only its owner can write to.';
    END IF;
END
$do$;
