-- The access method mrl: what it takes and refuses, what it answers, which plans use it.
-- Concurrency, crashes and damage are in tests/clients.

-- Vectors that are the same on every machine.
CREATE FUNCTION made(number int, dimensions int) RETURNS mrlvec LANGUAGE sql IMMUTABLE AS $$
    SELECT l2_normalize(array_agg((hashint4extended(i, number) / 9223372036854775808.0) ORDER BY i)::real[]::mrlvec)
    FROM generate_series(1, dimensions) i
$$;

CREATE TABLE rows (id int PRIMARY KEY, tenant int, emb mrlvec(24));
INSERT INTO rows SELECT i, i % 10, made(i, 24) FROM generate_series(1, 10000) i;
CREATE INDEX rows_emb ON rows USING mrl (emb);
ANALYZE rows;

-- The planner takes the index for ORDER BY with LIMIT, and not without either.
SELECT made(17, 24)::text AS query \gset
SELECT plan_of($$SELECT id FROM rows ORDER BY emb <#> '$$ || :'query' || $$' LIMIT 10$$);
SELECT plan_of($$SELECT id FROM rows ORDER BY '$$ || :'query' || $$' <#> emb LIMIT 10$$) LIMIT 2;
SELECT plan_of($$SELECT id FROM rows ORDER BY emb <#> '$$ || :'query' || $$'$$) LIMIT 2;
SELECT plan_of($$SELECT emb <#> '$$ || :'query' || $$' FROM rows ORDER BY 1$$) LIMIT 1;
SELECT bool_or(line LIKE '%Index Scan%') AS by_the_index FROM plan_of($$SELECT rank() OVER (ORDER BY emb <#> '$$ || :'query' || $$') FROM rows$$) line;
SELECT plan_of($$SELECT id FROM rows LIMIT 10$$);
SELECT plan_of($$SELECT id FROM rows ORDER BY emb <#> '$$ || :'query' || $$' DESC LIMIT 10$$) LIMIT 2;
SELECT plan_of($$SELECT id FROM rows ORDER BY emb <#> '$$ || :'query' || $$' NULLS FIRST LIMIT 10$$) LIMIT 2;

-- Exact settings give the sequential scan's answer: for queries of any dimension, for every class.
CREATE INDEX rows_cosine ON rows USING mrl (emb mrlvec_cosine_ops) WITH (lists = 5);
CREATE INDEX rows_l2 ON rows USING mrl (emb mrlvec_l2_ops) WITH (coarse_dims = 8);
CREATE FUNCTION distances(operator text, query mrlvec, exact boolean) RETURNS double precision[] LANGUAGE plpgsql AS $$
DECLARE found double precision[];
BEGIN
    PERFORM set_config('enable_indexscan', exact::text, true), set_config('enable_seqscan', (NOT exact)::text, true);
    EXECUTE format('SELECT array_agg(distance) FROM (SELECT emb %s $1 AS distance FROM rows ORDER BY emb %s $1 LIMIT 20) s', operator, operator)
        INTO found USING query;
    RETURN found;
END $$;
SET mrl.probes = 'all';
SET mrl.epsilon = 'exact';
SELECT operator, count(*) AS queries, count(*) FILTER (WHERE distances(operator, query, true) = distances(operator, query, false)) AS equal
FROM (SELECT operator, CASE operator WHEN '<->' THEN made(20000 + i, 24) ELSE subvector(made(20000 + i, 24), 1, 1 + i % 24) END AS query
      FROM unnest('{<#>,<=>,<->}'::text[]) operator, generate_series(1, 48) i) asked
GROUP BY operator ORDER BY operator;
RESET mrl.probes;
RESET mrl.epsilon;

-- The defaults come close.
-- Made-up costs of what is turned off are no reason to compile each call of a function.
SET jit = off;
SET enable_seqscan = off;
SET enable_sort = off;
WITH asked AS MATERIALIZED (SELECT i, made(20000 + i, 24) AS query FROM generate_series(1, 50) i)
SELECT avg(hits) >= 9.5 AS most_are_found FROM (
    SELECT (SELECT count(*) FROM (SELECT id FROM rows ORDER BY emb <#> query LIMIT 10) found
            WHERE id IN (SELECT id FROM (SELECT id, emb <#> query AS d FROM rows OFFSET 0) x ORDER BY d LIMIT 10)) AS hits
    FROM asked) s;

-- A longer query is truncated; one of another type or length is refused as by the operator.
SELECT count(*) FROM (SELECT id FROM rows ORDER BY emb <#> made(3, 30) LIMIT 10) s;
SELECT * FROM refused($$SELECT id FROM rows ORDER BY emb <-> '[1,2]' LIMIT 1$$);

-- A filter never leaves a query short of rows.
SELECT tenant, count(*) FROM (SELECT tenant FROM rows WHERE tenant = 7 ORDER BY emb <#> made(1, 24) LIMIT 10) s GROUP BY tenant;
SELECT count(*) FROM (SELECT id FROM rows WHERE id % 5000 = 1 ORDER BY emb <#> made(1, 24) LIMIT 10) s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM rows ORDER BY emb <#> made(1, 24) LIMIT 20000) s;
SET mrl.iterative_scan = off;
SELECT count(*) < 10000 AS one_round FROM (SELECT id FROM rows ORDER BY emb <#> made(1, 24) LIMIT 20000) s;
SET mrl.iterative_scan = strict_order;
SELECT bool_and(distance >= former) AS in_order FROM (
    SELECT distance, lag(distance) OVER (ORDER BY number) AS former FROM (
        SELECT distance, row_number() OVER () AS number FROM (
            SELECT emb <#> made(1, 24) AS distance FROM rows ORDER BY emb <#> made(1, 24) LIMIT 20000) s) t) u;
RESET mrl.iterative_scan;
SET mrl.max_scan_tuples = 100;
SELECT count(*) <= 100 AS limited FROM (SELECT id FROM rows ORDER BY emb <#> made(1, 24) LIMIT 20000) s;
RESET mrl.max_scan_tuples;

-- NULLs come last, zero vectors under cosine before them; IS NULL reads only those.
INSERT INTO rows VALUES (10001, 1, NULL), (10002, 1, array_fill(0, '{24}')::mrlvec);
SELECT id FROM (SELECT id, row_number() OVER () AS place FROM (SELECT id FROM rows ORDER BY emb <=> made(1, 24)) s) t
ORDER BY place DESC LIMIT 2;
SELECT plan_of('SELECT id FROM rows WHERE emb IS NULL');
SELECT id FROM rows WHERE emb IS NULL;
SELECT count(*) FROM (SELECT id FROM rows WHERE emb IS NOT NULL ORDER BY emb <#> made(1, 24)) s;
SELECT count(*) FROM (SELECT id FROM rows ORDER BY emb <#> NULL::mrlvec) s;

-- A query that turns out to be NULL: all rows that the conditions leave, in any order.
SELECT bool_or(line LIKE '%Order By%') AS by_the_index FROM plan_of('SELECT id FROM rows ORDER BY emb <=> (SELECT emb FROM rows WHERE id = 10001)') line;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM rows ORDER BY emb <=> (SELECT emb FROM rows WHERE id = 10001)) s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM rows WHERE emb IS NOT NULL ORDER BY emb <=> (SELECT emb FROM rows WHERE id = 10001)) s;
SELECT id FROM rows WHERE emb IS NULL ORDER BY emb <=> (SELECT emb FROM rows WHERE id = 10001);
SELECT count(*) FROM (SELECT id FROM rows WHERE emb IS NULL AND emb IS NOT NULL ORDER BY emb <=> made(1, 24)) s;

-- Ties of one distance do not come by another: the server sorts.
SELECT bool_or(line LIKE '%Index Scan%') AS by_the_index FROM plan_of('SELECT id FROM rows ORDER BY emb <#> made(1, 24), emb <#> made(2, 24)') line;
SELECT bool_or(line LIKE '%Index Scan%') AS by_the_index FROM plan_of('SELECT id FROM rows ORDER BY emb <#> made(1, 24), emb <#> made(2, 24), id LIMIT 10') line;
SELECT bool_or(line LIKE '%Sort%') AS sorts FROM plan_of('SELECT id FROM rows ORDER BY emb <#> made(1, 24)') line;

SELECT pg_index_column_has_property('rows_emb', 1, 'distance_orderable') AS by_distance, pg_index_column_has_property('rows_emb', 1, 'returnable') AS returnable;

SELECT property, pg_index_has_property('rows_emb', property) FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) property;
SELECT property, pg_indexam_has_property(oid, property) FROM pg_am, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) property WHERE amname = 'mrl';

-- An index's own probes and epsilon count where the session's are at auto.
CREATE FUNCTION asked() RETURNS TABLE (lists bigint, all_compared boolean) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM id FROM rows ORDER BY emb <=> made(5, 24) LIMIT 1;
    RETURN QUERY SELECT lists_probed, rows_reranked >= 10000 FROM mrl_scan_stats();
END $$;
SELECT lists, all_compared FROM asked();
ALTER INDEX rows_cosine SET (probes = 2);
SELECT lists, all_compared FROM asked();
SET mrl.probes = 4;
SELECT lists, all_compared FROM asked();
RESET mrl.probes;
SELECT lists, all_compared FROM asked();
ALTER INDEX rows_cosine SET (probes = all, epsilon = exact);
SELECT lists, all_compared FROM asked();
SET mrl.epsilon = 1;
SELECT lists, all_compared FROM asked();
RESET mrl.epsilon;
ALTER INDEX rows_cosine RESET (probes, epsilon);
SELECT lists, all_compared FROM asked();
DROP FUNCTION asked;

-- Recall falls with what is looked into, and is whole where all is.
SELECT recall > 0.95 AS by_default FROM mrl_recall('rows_emb', 30, 20);
SET mrl.probes = 1;
SET mrl.epsilon = 0;
SET mrl.iterative_scan = off;
SELECT recall < 0.9 AS by_little FROM mrl_recall('rows_emb', 30, 20);
SET mrl.probes = 'all';
SET mrl.epsilon = 'exact';
SELECT recall AS exactly FROM mrl_recall('rows_emb', 30, 20);
RESET mrl.probes;
RESET mrl.epsilon;
RESET mrl.iterative_scan;

-- What a scan did, and what the index consists of.
SELECT id FROM rows ORDER BY emb <#> made(5, 24) LIMIT 1;
SELECT index, rounds, lists_probed > 0 AS lists, codes_scored >= codes_finished AS codes, rows_reranked > 0 AS reranked, rows_returned FROM mrl_scan_stats();
SELECT format_version, dimensions, coarse_dims, keeps_vectors, lists, rows, null_rows, zero_rows FROM mrl_index_info('rows_cosine');
SELECT * FROM mrl_index_check('rows_emb', true) UNION ALL SELECT * FROM mrl_index_check('rows_cosine', true) UNION ALL SELECT * FROM mrl_index_check('rows_l2', true);
SELECT count(*) = info.lists AS lists, sum(l.rows) = info.rows AS rows, min(l.rows) = info.smallest_list AS smallest, max(l.rows) = info.largest_list AS largest, bool_and(l.frames = 1 AND l.fill BETWEEN 0.5 AND 1) AS fresh
FROM mrl_index_info('rows_cosine') info, mrl_index_lists('rows_cosine') l GROUP BY info.lists, info.rows, info.smallest_list, info.largest_list;
SELECT (refused($$SELECT * FROM mrl_index_info('rows_pkey')$$)).*;
-- With little memory, which the sample has filled before it is known how many rows there are.
SET maintenance_work_mem = '1MB';
CREATE INDEX rows_frugal ON rows USING mrl (emb);
SELECT lists > 3 AS several FROM mrl_index_info('rows_frugal');
DROP INDEX rows_frugal;
RESET maintenance_work_mem;
SELECT recall >= 0.9 AS found, index_milliseconds > 0 AS index, exact_milliseconds > 0 AS exact FROM mrl_recall('rows_emb', 20);
SELECT recall >= 0.9 AS found FROM mrl_recall('rows_cosine', 100, 5, 8);
SELECT (refused($$SELECT * FROM mrl_recall('rows_pkey')$$)).*;
-- Of other indexes that the planner would rather use, classes that take no fewer dimensions, few vectors among NULLs.
SELECT (refused($$SELECT * FROM mrl_recall('rows_l2', 10, 10, 8)$$)).*;
SELECT (refused($$SELECT * FROM mrl_recall('rows_l2', 10, NULL)$$)).*;
SELECT (refused($$SELECT * FROM mrl_recall('rows_l2', 0)$$)).*;
SELECT recall >= 0.9 AS found FROM mrl_recall('rows_l2', 20);
CREATE TABLE sparse (emb mrlvec(24));
INSERT INTO sparse SELECT CASE WHEN i <= 6 THEN made(i, 24) END FROM generate_series(1, 50) i;
CREATE INDEX sparse_emb ON sparse USING mrl (emb);
CREATE INDEX sparse_part ON sparse USING mrl ((l2_normalize(emb)::mrlvec(24))) WHERE emb IS NOT NULL;
SELECT recall FROM mrl_recall('sparse_emb', 5, 10);
SELECT recall FROM mrl_recall('sparse_part', 5, 10);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sparse_emb'::regclass;
SELECT (refused($$SELECT * FROM mrl_recall('sparse_emb')$$)).*;
DROP TABLE sparse;
SHOW enable_seqscan;
BEGIN;
SELECT pg_stat_get_xact_numscans('rows_emb'::regclass) AS former \gset
SELECT count(*) FROM (SELECT id FROM rows ORDER BY emb <#> made(5, 24) LIMIT 3) s;
SELECT pg_stat_get_xact_numscans('rows_emb'::regclass) - :former AS scans;
ROLLBACK;
-- A row that the index was not told about.
BEGIN;
UPDATE pg_index SET indisready = false WHERE indexrelid = 'rows_emb'::regclass;
INSERT INTO rows VALUES (30000, 1, made(30000, 24)), (30001, 1, NULL);
UPDATE pg_index SET indisready = true WHERE indexrelid = 'rows_emb'::regclass;
SELECT count(*), bool_and(problem ~ '^row \(\d+,\d+\) of the table is missing$') AS named FROM mrl_index_check('rows_emb', true) problem;
SELECT count(*) FROM mrl_index_check('rows_emb');
ROLLBACK;
-- They tell about rows that row-level security may hide.
CREATE ROLE nobody_special;
SET ROLE nobody_special;
SELECT (refused($$SELECT * FROM mrl_index_info('rows_emb')$$)).code;
SELECT (refused($$SELECT * FROM mrl_index_check('rows_emb')$$)).code;
RESET ROLE;
DROP ROLE nobody_special;

-- Rescans in a lateral join, cursors, prepared plans.
SELECT count(*) FROM (SELECT made(i, 24) AS query FROM generate_series(1, 20) i) asked,
    LATERAL (SELECT id FROM rows ORDER BY emb <#> asked.query LIMIT 5) found;
BEGIN;
DECLARE near SCROLL CURSOR WITH HOLD FOR SELECT id FROM rows ORDER BY emb <#> made(17, 24) LIMIT 3;
FETCH 1 FROM near;
DELETE FROM rows WHERE id = 17;
COMMIT;
FETCH BACKWARD ALL FROM near;
FETCH 1 FROM near;
CLOSE near;
SELECT id = 17 AS gone FROM rows ORDER BY emb <#> made(17, 24) LIMIT 1;
PREPARE near(mrlvec) AS SELECT count(*) FROM (SELECT id FROM rows ORDER BY emb <#> $1 LIMIT 7) s;
SET plan_cache_mode = force_generic_plan;
EXECUTE near(made(3, 24));
SET plan_cache_mode = force_custom_plan;
EXECUTE near(made(3, 24));
RESET plan_cache_mode;

-- Savepoints, updates that move rows, HOT updates, vacuum.
BEGIN;
SAVEPOINT before;
INSERT INTO rows VALUES (20000, 5, made(20000, 24));
SELECT id FROM rows ORDER BY emb <#> made(20000, 24) LIMIT 1;
ROLLBACK TO before;
SELECT id = 20000 AS still_there FROM rows ORDER BY emb <#> made(20000, 24) LIMIT 1;
COMMIT;
UPDATE rows SET tenant = tenant + 1;
UPDATE rows SET emb = made(id + 50000, 24) WHERE id <= 1000;
DELETE FROM rows WHERE id % 3 = 0;
VACUUM rows;
SELECT * FROM mrl_index_check('rows_emb', true) UNION ALL SELECT * FROM mrl_index_check('rows_cosine', true) UNION ALL SELECT * FROM mrl_index_check('rows_l2', true);
VACUUM FULL rows;
REINDEX TABLE rows;
SELECT * FROM mrl_index_check('rows_emb', true);
SELECT id FROM rows ORDER BY emb <#> made(50002, 24) LIMIT 1;
TRUNCATE rows;
SELECT id FROM rows ORDER BY emb <#> made(1, 24) LIMIT 1;
INSERT INTO rows SELECT i, i % 10, made(i, 24) FROM generate_series(1, 5000) i;
SELECT * FROM mrl_index_check('rows_emb', true);
SELECT id FROM rows ORDER BY emb <#> made(4711, 24) LIMIT 1;

-- Kinds of indexes.
CREATE INDEX CONCURRENTLY rows_concurrently ON rows USING mrl (emb);
SELECT * FROM mrl_index_check('rows_concurrently', true);
REINDEX INDEX CONCURRENTLY rows_concurrently;
DROP INDEX CONCURRENTLY rows_concurrently;
CREATE INDEX rows_partial ON rows USING mrl (emb) WHERE tenant = 3;
SELECT * FROM mrl_index_check('rows_partial', true);
CREATE INDEX rows_expression ON rows USING mrl ((emb::mrlvec(8)));
SELECT keeps_vectors, dimensions FROM mrl_index_info('rows_expression');
SELECT plan_of($$SELECT id FROM rows ORDER BY emb::mrlvec(8) <#> '[1,2,3,4,5,6,7,8]' LIMIT 1$$);
SELECT (SELECT id FROM rows ORDER BY emb::mrlvec(8) <#> made(9, 8) LIMIT 1) =
    (SELECT id FROM rows ORDER BY (emb::mrlvec(8) <#> made(9, 8)) + 0 LIMIT 1) AS same;
CREATE INDEX rows_copies ON rows USING mrl (emb) WITH (rerank = index);
SELECT keeps_vectors FROM mrl_index_info('rows_copies');
SELECT * FROM mrl_index_check('rows_copies', true);
CREATE UNLOGGED TABLE unlogged (emb mrlvec(4));
CREATE INDEX unlogged_emb ON unlogged USING mrl (emb);
INSERT INTO unlogged VALUES ('[1,2,3,4]');
SELECT * FROM unlogged ORDER BY emb <#> '[1,0,0,0]' LIMIT 1;
CREATE TEMPORARY TABLE temporary (emb mrlvec(4));
CREATE INDEX temporary_emb ON temporary USING mrl (emb);
INSERT INTO temporary SELECT made(i, 4) FROM generate_series(1, 3000) i;
SELECT * FROM mrl_index_check('temporary_emb', true);
CREATE TABLE partitioned (id int, emb mrlvec(8)) PARTITION BY RANGE (id);
CREATE TABLE part_one PARTITION OF partitioned FOR VALUES FROM (0) TO (1000);
CREATE TABLE part_two PARTITION OF partitioned FOR VALUES FROM (1000) TO (5000);
CREATE INDEX ON partitioned USING mrl (emb);
INSERT INTO partitioned SELECT i, made(i, 8) FROM generate_series(1, 3000) i;
SELECT plan_of($$SELECT id FROM partitioned ORDER BY emb <#> '[1,2,3,4,5,6,7,8]' LIMIT 3$$);
SELECT id FROM partitioned ORDER BY emb <#> made(1500, 8) LIMIT 1;
SELECT recall > 0.9 AS found FROM mrl_recall('partitioned_emb_idx', 10);
SELECT (refused($$SELECT * FROM mrl_index_info('partitioned_emb_idx')$$)).*;
ALTER TABLE rows ALTER tenant TYPE bigint;
SELECT * FROM mrl_index_check('rows_emb', true);

-- A trigger that changes the vector: the row's own vector is what is found.
CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.emb := made(NEW.id + 7000, 24); RETURN NEW; END $$;
CREATE TRIGGER turn BEFORE UPDATE ON rows FOR EACH ROW EXECUTE FUNCTION turn();
UPDATE rows SET tenant = 99 WHERE id = 5;
SELECT id, tenant FROM rows ORDER BY emb <#> made(7005, 24) LIMIT 1;
SELECT * FROM mrl_index_check('rows_emb', true);

-- Equal vectors, more than a list can be split into.
CREATE TABLE equal (id int, emb mrlvec(16));
CREATE INDEX equal_emb ON equal USING mrl (emb);
INSERT INTO equal SELECT i, made(1, 16) FROM generate_series(1, 20000) i;
SELECT count(DISTINCT id) FROM (SELECT id FROM equal ORDER BY emb <#> made(1, 16) LIMIT 30000) s;
SELECT * FROM mrl_index_check('equal_emb', true);

-- What ALTER INDEX can't compare with the column stands in no later build's way: more dimensions than there are, are all.
CREATE TABLE altered (emb mrlvec(16));
CREATE INDEX altered_emb ON altered USING mrl (emb);
ALTER INDEX altered_emb SET (coarse_dims = 17);
TRUNCATE altered;
REINDEX INDEX altered_emb;
SELECT dimensions, coarse_dims FROM mrl_index_info('altered_emb');
DROP TABLE altered;

-- A column of a domain has the dimension of the type beneath, and what casts to it too.
CREATE DOMAIN plane AS mrlvec(2) CHECK (VALUE <> '[7,7]');
CREATE DOMAIN half_plane AS plane;
CREATE TABLE tiles (id int, emb half_plane NOT NULL);
INSERT INTO tiles SELECT i, ARRAY[i, 10 - i]::mrlvec(2) FROM generate_series(1, 9) i;
CREATE INDEX tiles_emb ON tiles USING mrl (emb);
CREATE INDEX tiles_cast ON tiles USING mrl ((emb::plane) mrlvec_l2_ops);
INSERT INTO tiles VALUES (10, '[10,0]');
SELECT dimensions FROM unnest(ARRAY['tiles_emb', 'tiles_cast']::regclass[]) i, mrl_index_info(i);
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM tiles ORDER BY emb <#> '[1,0]' LIMIT 3;
SELECT id FROM tiles ORDER BY emb <#> '[1,0]' LIMIT 3;
SELECT id FROM tiles ORDER BY emb::plane <-> '[1,0.5]' LIMIT 3;
RESET enable_seqscan;
RESET enable_sort;
DROP TABLE tiles;
DROP DOMAIN half_plane, plane;

-- What is refused.
CREATE TABLE odd (a mrlvec, b mrlvec(4001), c mrlvec(4), d int);
SELECT statement, code, message FROM unnest(ARRAY[
    'CREATE INDEX ON odd USING mrl (a)',
    'CREATE INDEX ON odd USING mrl (b)',
    'CREATE UNIQUE INDEX ON odd USING mrl (c)',
    'CREATE INDEX ON odd USING mrl (c, a)',
    'CREATE INDEX ON odd USING mrl (c) INCLUDE (d)',
    'CREATE INDEX ON odd USING mrl (d)',
    'CREATE INDEX ON odd USING mrl (c DESC)',
    'CREATE INDEX ON odd USING mrl (c) WITH (lists = 0)',
    'CREATE INDEX ON odd USING mrl (c) WITH (coarse_dims = 7)',
    'CREATE INDEX ON odd USING mrl (c) WITH (rerank = table)',
    'CREATE INDEX ON odd USING mrl (c) WITH (probes = none)',
    'CREATE INDEX ON odd USING mrl (c) WITH (epsilon = 11)',
    'CREATE INDEX ON odd USING mrl (c) WITH (fillfactor = 50)',
    'CLUSTER rows USING rows_emb',
    'SET mrl.probes = ''some''',
    'SET mrl.epsilon = ''-1''']) statement, refused(statement);
DROP TABLE rows, unlogged, temporary, partitioned, equal, odd CASCADE;
DROP FUNCTION made, distances, turn CASCADE;
