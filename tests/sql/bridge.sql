-- pg_mrl_pgvector: the bridge to pgvector's types, here with a stand-in of their layout.
SET client_min_messages = warning;
CREATE EXTENSION vector VERSION 'stand_in';
-- Nobody's objects are taken for those of the other extensions.
CREATE SCHEMA trap;
CREATE FUNCTION trap.distance(mrlvec, mrlvec) RETURNS double precision LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1.0::double precision';
CREATE OPERATOR trap.<#> (LEFTARG = mrlvec, RIGHTARG = mrlvec, FUNCTION = trap.distance);
SELECT (refused('CREATE EXTENSION pg_mrl_pgvector SCHEMA trap')).*;
DROP OPERATOR trap.<#> (mrlvec, mrlvec);
CREATE DOMAIN trap.vector AS vector;
SELECT (refused('CREATE EXTENSION pg_mrl_pgvector SCHEMA trap')).*;
DROP SCHEMA trap CASCADE;
CREATE EXTENSION pg_mrl_pgvector;

-- Every object has a comment.
SELECT identity.type, count(*), count(obj_description(depend.objid, depend.classid::regclass::name)) AS with_comment
FROM pg_depend depend, pg_identify_object(depend.classid, depend.objid, depend.objsubid) identity
WHERE depend.refclassid = 'pg_extension'::regclass AND depend.deptype = 'e'
  AND depend.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_mrl_pgvector')
GROUP BY identity.type ORDER BY identity.type;

-- Which operator a statement means. The vector (3, 4, 0) in the stand-in's text form:
SELECT '\x03000000000040400000804000000000'::bytea::text AS vector \gset
CREATE TABLE item (emb mrlvec(3), h halfvec(3), v vector);
INSERT INTO item VALUES ('[1,2,3]', '[1,2,3]', :'vector');
CREATE FUNCTION operators_of(statement text) RETURNS SETOF regoperator LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE OR REPLACE TEMPORARY VIEW asked AS SELECT (' || statement || ')::text AS result FROM item';
    RETURN QUERY SELECT refobjid::regoperator FROM pg_depend
        WHERE refclassid = 'pg_operator'::regclass AND classid = 'pg_rewrite'::regclass
          AND objid = (SELECT oid FROM pg_rewrite WHERE ev_class = 'asked'::regclass);
END
$$;
SELECT format(form, operator) AS expression, operators_of(format(form, operator)) AS means
FROM unnest('{<#>,<=>,<->,<+>}'::text[]) operator,
     (VALUES (1, 'emb %s ''[1,2,3]'''), (2, '''[1,2,3]'' %s emb'), (3, 'emb %s emb'), (4, 'emb %s ''[1,2,3]''::halfvec'), (5, '''[1,2,3]''::halfvec %s emb'),
             (6, 'emb %s v'), (7, 'v %s emb'), (8, 'emb %s h'), (9, 'h %s emb'),
             (10, 'h %s h'), (11, 'h %s ''[1,2,3]'''), (12, '''[1,2,3]'' %s h'), (13, 'v %s v'), (14, 'v %s h'), (15, 'h %s v')) forms(number, form)
ORDER BY operator COLLATE "C", number;
SELECT expression, operators_of(expression) AS means
FROM unnest(ARRAY['emb + ''[1,2,3]''', 'h + h', 'h + ''[1,2,3]''', 'emb = ''[1,2,3]''', 'emb < emb', '''101'' <~> ''110''', 'B''101'' <~> B''110''', 'emb <#> B''101''', 'B''101'' <#> emb', 'emb || emb']) expression;
-- What a client's parameter of no declared type means.
PREPARE untyped AS SELECT emb <#> $1 FROM item;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'untyped';
EXECUTE untyped('[1,0]');
DEALLOCATE untyped;
PREPARE as_halfvec AS SELECT emb <#> $1::halfvec, $1 <#> emb FROM item;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'as_halfvec';
EXECUTE as_halfvec('[1,1,1]');
DEALLOCATE as_halfvec;
PREPARE as_vector AS SELECT emb <#> $1::vector, emb <-> $1 FROM item;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'as_vector';
EXECUTE as_vector(:'vector');
DEALLOCATE as_vector;
-- pgvector's functions on its own types, and ours on ours.
SELECT l2_distance(h, h), cosine_distance(h, h), inner_product(h, h), l1_distance(h, h), vector_dims(h), l2_norm(h), subvector(h, 1, 2), binary_quantize(h), pg_typeof(l2_normalize(h)), l2_distance(v, v) FROM item;
SELECT l2_distance(emb, emb), cosine_distance(emb, emb), inner_product(emb, emb), l1_distance(emb, emb), vector_dims(emb), l2_norm(emb), subvector(emb, 1, 2), binary_quantize(emb), pg_typeof(l2_normalize(emb)) FROM item;

-- Values: the distances across the types are those of the casts.
SELECT emb <#> v AS ip, v <#> emb AS ip2, emb <#> v::mrlvec AS cast_ip, emb <=> v AS cosine, v <=> emb AS cosine2, emb <=> v::mrlvec AS cast_cosine FROM item;
SELECT emb <-> v AS l2, v <-> emb AS l22, emb <-> v::mrlvec AS cast_l2, emb <+> v AS l1, v <+> emb AS l12, emb <+> v::mrlvec AS cast_l1 FROM item;
SELECT emb <#> h AS ip, h <#> emb AS ip2, emb <-> h AS l2, h <+> emb AS l1, h <=> emb AS cosine FROM item;
SELECT emb <#> '[3,4]'::halfvec AS shared_prefix, '[3,4]'::halfvec <=> emb AS shared_prefix_too FROM item;
SELECT (refused('SELECT emb <-> ''[3,4]''::halfvec FROM item')).*;
-- A damaged vector is refused, whatever it claims to be.
SELECT bytes, (refused(format('SELECT %L::vector::mrlvec', bytes))).* FROM unnest(ARRAY['\x', '\x03000000', '\x0000', '\xff3f0000', '\x0200000000004040', '\xffff0000', '\x010000000000c07f', '\x010000000000807f', '\x0100000000000050']) bytes;

-- In a parallel plan the operators and casts give the same.
CREATE TABLE wide AS SELECT i AS id, ARRAY[i % 7, i % 5, 1]::mrlvec AS emb, ARRAY[1, i % 3, i % 11]::real[]::halfvec AS h,
    ('\x03000000000040400000804000000000')::vector AS v FROM generate_series(1, 20000) i;
ANALYZE wide;
\set all_operators 'sum(emb <#> h), sum(h <#> emb), sum(emb <#> v), sum(v <#> emb), sum(emb <=> h), sum(h <=> emb), sum(emb <=> v), sum(v <=> emb), sum(emb <-> h), sum(h <-> emb), sum(emb <-> v), sum(v <-> emb), sum(emb <+> h), sum(h <+> emb), sum(emb <+> v), sum(v <+> emb), sum(vector_dims(h::mrlvec)), sum(vector_dims(v::mrlvec)), sum(vector_dims(emb::halfvec))'
SELECT array_agg(round(x::numeric, 6)) AS serial FROM (SELECT :all_operators FROM wide) sums, LATERAL unnest(string_to_array(trim('()' FROM sums::text), ',')) x \gset
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;
SELECT * FROM plan_of('SELECT sum(emb <#> h) FROM wide');
SELECT array_agg(round(x::numeric, 6)) = :'serial' AS same, count(*) FROM (SELECT :all_operators FROM wide) sums, LATERAL unnest(string_to_array(trim('()' FROM sums::text), ',')) x;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET parallel_leader_participation;
DROP TABLE wide;

-- An index on a mrlvec column answers queries of other types, from release 14 on.
CREATE TABLE answered AS SELECT i AS id, ARRAY[i % 7 - 3, i % 5 - 2, 1 + i % 11]::mrlvec::mrlvec(3) AS emb FROM generate_series(1, 5000) i;
CREATE INDEX answered_ip ON answered USING mrl (emb);
CREATE INDEX answered_cosine ON answered USING mrl (emb mrlvec_cosine_ops);
CREATE INDEX answered_l2 ON answered USING mrl (emb mrlvec_l2_ops);
ANALYZE answered;
SET mrl.probes = 'all';
SET mrl.epsilon = 'exact';
PREPARE by_halfvec AS SELECT emb FROM answered ORDER BY emb <#> $1::halfvec LIMIT 1;
PREPARE by_vector AS SELECT emb FROM answered ORDER BY $1::vector <=> emb LIMIT 1;
PREPARE by_vector_too AS SELECT emb FROM answered ORDER BY emb <-> $1::vector LIMIT 1;
SELECT line FROM unnest('{generic,custom}'::text[]) mode, set_config('plan_cache_mode', 'force_' || mode || '_plan', false),
    unnest(ARRAY['by_halfvec(''[1,1,1]'')', format('by_vector(%L)', :'vector'), format('by_vector_too(%L)', :'vector')]) asked,
    LATERAL plan_of('EXECUTE ' || asked) line WHERE line ~ 'Scan|Sort';
EXECUTE by_halfvec('[1,1,1]');
EXECUTE by_vector(:'vector');
EXECUTE by_vector_too(:'vector');
RESET plan_cache_mode;
RESET mrl.probes;
RESET mrl.epsilon;
DEALLOCATE ALL;
DROP TABLE answered;

-- Casts: implicit to halfvec, on assignment from halfvec and vector.
CREATE FUNCTION takes_halfvec(halfvec) RETURNS text LANGUAGE sql RETURN $1::text;
SELECT takes_halfvec(emb), (emb::halfvec)::text, h::mrlvec, v::mrlvec, h::mrlvec(2) AS truncated, v::mrlvec(2) AS truncated_too FROM item;
INSERT INTO item (emb) SELECT h FROM item;
INSERT INTO item (emb) SELECT v FROM item WHERE v IS NOT NULL;
INSERT INTO item (h) SELECT emb FROM item WHERE v IS NOT NULL;
SELECT emb, h FROM item;
SELECT (refused('INSERT INTO item (emb) VALUES (''[1,2]''::halfvec)')).*;
SELECT count(*) FROM (SELECT ARRAY[i / 7.0, -i]::mrlvec AS m FROM generate_series(1, 1000) i) made WHERE halfvec_send(m::halfvec) = mrlvec_send(m::halfvec::mrlvec);

-- Moving from pgvector: the column's type changes without a rewrite, its indexes stay.
CREATE TABLE moved AS SELECT i AS id, ARRAY[i, i + 1, i / 3.0]::real[]::halfvec::halfvec(3) AS emb FROM generate_series(1, 1000) i;
ALTER TABLE moved ADD PRIMARY KEY (id);
INSERT INTO moved VALUES (0, NULL);
SELECT pg_relation_filenode('moved') AS heap, pg_relation_filenode('moved_pkey') AS index, (SELECT sum(hashtext(emb::text)::bigint) FROM moved) AS content \gset
ALTER TABLE moved ALTER emb TYPE mrlvec(3);
SELECT pg_relation_filenode('moved') = :heap AS heap_kept, pg_relation_filenode('moved_pkey') = :index AS index_kept,
       (SELECT sum(hashtext(emb::text)::bigint) FROM moved) = :content AS same_content, atttypid::regtype, atttypmod
FROM pg_attribute WHERE attrelid = 'moved'::regclass AND attname = 'emb';
ALTER TABLE moved ALTER emb TYPE halfvec(3);
SELECT atttypid::regtype, atttypmod FROM pg_attribute WHERE attrelid = 'moved'::regclass AND attname = 'emb';
SELECT pg_relation_filenode('moved') AS heap \gset
ALTER TABLE moved ALTER emb TYPE mrlvec;
SELECT pg_relation_filenode('moved') = :heap AS kept_without_length;
-- A length that the type did not promise has to be checked, row by row.
SELECT (refused('ALTER TABLE moved ALTER emb TYPE mrlvec(2)')).*;
ALTER TABLE moved ALTER emb TYPE mrlvec(3);
SELECT pg_relation_filenode('moved') = :heap AS kept_with_an_unproved_length;

DROP TABLE item, moved CASCADE;
DROP FUNCTION takes_halfvec, operators_of;
DROP EXTENSION pg_mrl_pgvector;
DROP EXTENSION vector;
