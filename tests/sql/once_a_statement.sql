-- A statement that compares many rows with one text runs the model once, whatever the plan.
CREATE TABLE row (id int, emb mrlvec(384));
INSERT INTO row SELECT i, (SELECT array_agg(sin(i * j)) FROM generate_series(1, 384) j)::mrlvec FROM generate_series(1, 40) i;
INSERT INTO row SELECT 40 * k + id, emb FROM row, generate_series(1, 249) k;
SELECT count(*) FROM row;
SET client_min_messages = error;
SET max_parallel_workers_per_gather = 0;

-- A literal.
SELECT forward_passes() AS before \gset
SELECT count(*) FROM (SELECT id FROM row ORDER BY emb <#> mrl_embed('literal', 'search_query', 64) LIMIT 10) nearest;
SELECT forward_passes() - :before AS passes;

-- A parameter, in a custom and in a generic plan.
PREPARE nearest(text) AS SELECT id FROM row ORDER BY emb <#> mrl_embed($1, 'search_query', 64) LIMIT 10;
SET plan_cache_mode = force_custom_plan;
SELECT forward_passes() AS before \gset
EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE nearest('custom');
SELECT forward_passes() - :before AS passes;
SET plan_cache_mode = force_generic_plan;
SELECT forward_passes() AS before \gset
EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE nearest('generic');
SELECT forward_passes() - :before AS passes;
-- Asked again, nothing runs.
SELECT forward_passes() AS before \gset
EXECUTE nearest('generic') \g /dev/null
SELECT forward_passes() - :before AS passes;
RESET plan_cache_mode;
DEALLOCATE nearest;

-- The same inside a PL/pgSQL function, by a named model (IMMUTABLE) too.
CREATE FUNCTION nearest(query text) RETURNS SETOF int LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT id FROM row ORDER BY emb <#> mrl_embed(query, 'search_query', 64) LIMIT 10;
END
$$;
CREATE FUNCTION nearest_by_name(query text) RETURNS SETOF int LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT id FROM row ORDER BY emb <#> mrl_embed(query, 'search_query', 64, 'all-MiniLM-L6-v2') LIMIT 10;
END
$$;
SELECT forward_passes() AS before \gset
SELECT count(*) FROM nearest('in a function');
SELECT forward_passes() - :before AS passes;
SET plan_cache_mode = force_generic_plan;
SELECT forward_passes() AS before \gset
SELECT count(*) FROM nearest('in a generic plan of a function');
SELECT count(*) FROM nearest_by_name('by name');
SELECT forward_passes() - :before AS passes_for_two;
RESET plan_cache_mode;

-- Another dim of the same text costs no second pass.
SELECT forward_passes() AS before \gset
SELECT sum(emb <#> mrl_embed('dims', 'search_query', 64)) <> sum(emb <#> mrl_embed('dims', 'search_query')) AS two_dims FROM row;
SELECT forward_passes() - :before AS passes;

-- The rows to sort, filter and join by it.
SELECT forward_passes() AS before \gset
SELECT count(*) >= 0 AS ran FROM row WHERE emb <#> mrl_embed('filter', 'search_query', 64) < 0;
SELECT forward_passes() - :before AS passes;

-- In a parallel plan: once a process that takes part. The workers' passes are their own.
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
PREPARE parallel(text) AS SELECT id FROM row ORDER BY emb <#> mrl_embed($1, 'search_query', 64), id LIMIT 10;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE parallel('workers');
SELECT forward_passes() AS before \gset
CREATE TEMPORARY TABLE by_workers AS EXECUTE parallel('workers');
SELECT forward_passes() - :before <= 1 AS at_most_once_here;
SET max_parallel_workers_per_gather = 0;
CREATE TEMPORARY TABLE alone AS EXECUTE parallel('workers');
SELECT count(*) AS same FROM by_workers JOIN alone USING (id);
RESET ALL;
SET client_min_messages = error;

-- Without a cache it is once a row: that is what the cache is for.
SET mrl.cache_size = 0;
PREPARE rows(text) AS SELECT id FROM row WHERE id <= 5 ORDER BY emb <#> mrl_embed($1, 'search_query', 64);
SET plan_cache_mode = force_generic_plan;
SELECT forward_passes() AS before \gset
EXECUTE rows('no cache') \g /dev/null
SELECT forward_passes() - :before AS passes;

-- The cache is bounded: entries unused for the longest time go first.
SET mrl.cache_size = '16kB';
SELECT count(mrl_embed('filler ' || i, NULL)) FROM generate_series(1, 20) i;
SELECT forward_passes() AS before \gset
SELECT count(mrl_embed('filler ' || i, NULL)) FROM generate_series(20, 20) i;
SELECT forward_passes() - :before AS recent_one_is_kept;
SELECT count(mrl_embed('filler ' || i, NULL)) FROM generate_series(1, 1) i;
SELECT forward_passes() - :before AS old_one_is_not;
RESET ALL;
DROP FUNCTION nearest, nearest_by_name;
DROP TABLE row;
