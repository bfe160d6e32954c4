-- sum and avg.

SELECT sum(v), avg(v) FROM (VALUES ('[1,2]'::mrlvec), ('[3,5]'), (NULL)) rows(v);
SELECT sum(v), avg(v) FROM (VALUES (NULL::mrlvec)) rows(v);
SELECT sum(v), avg(v) FROM (SELECT '[1]'::mrlvec AS v WHERE false) rows;
-- Kept wider than a half: a sum that would not fit one still has an average.
SELECT avg(v) FROM (VALUES ('[65504,1]'::mrlvec), ('[65504,3]')) rows(v);
SELECT (refused('SELECT sum(v) FROM (VALUES (''[65504]''::mrlvec), (''[65504]'')) rows(v)')).*;
SELECT (refused('SELECT sum(v) FROM (VALUES (''[1,2]''::mrlvec), (''[1]'')) rows(v)')).*;
SELECT (refused('SELECT avg(v) FROM (VALUES (''[1,2]''::mrlvec), (''[1]'')) rows(v)')).*;
-- 100,000 times 0.1 (the half nearest to it): the average is that half, no error adds up.
SELECT avg('[0.1,-0.3]'::mrlvec) FROM generate_series(1, 100000);

CREATE TABLE measured AS SELECT i AS id, i % 5 AS kind, ARRAY[i % 13, (i % 7) * 0.125, -i % 3]::mrlvec AS v FROM generate_series(1, 20000) i;
ANALYZE measured;
SELECT kind, sum(v), avg(v) FROM measured WHERE id <= 1000 GROUP BY kind ORDER BY kind;
SELECT sum(v) = (SELECT ARRAY[sum(v_1), sum(v_2), sum(v_3)]::mrlvec
                 FROM (SELECT (v::float8[])[1] AS v_1, (v::float8[])[2] AS v_2, (v::float8[])[3] AS v_3 FROM measured WHERE id <= 5000) split)
FROM measured WHERE id <= 5000;
-- Windows move and start anew.
SELECT id, sum(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM measured WHERE id <= 4 ORDER BY id;
SELECT id, avg(v) OVER (ORDER BY id) FROM measured WHERE id <= 3 ORDER BY id;
SELECT kind, avg(v) FROM measured GROUP BY ROLLUP (kind) ORDER BY kind;

-- In a parallel plan, where workers hand over their states.
SELECT avg(v) AS serial FROM measured \gset
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
SELECT * FROM plan_of('SELECT avg(v) FROM measured');
SELECT avg(v) = :'serial' AS same FROM measured;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;

-- Called by hand: a state of another making is refused or used, never trusted, never changed.
SELECT mrlvec_accum('{0}', '[1,2]'), mrlvec_accum('{1,1,2}', '[1,2]'), mrlvec_combine('{0}', '{2,3,4}'),
       mrlvec_combine('{1,1}', '{0}'), mrlvec_avg('{2,3,4}'), mrlvec_sum('{2,3,4}'), mrlvec_avg('{0}') AS nothing;
SELECT statement, (refused(statement)).* FROM (VALUES
    ('SELECT mrlvec_accum(''{}'', ''[1]'')'), ('SELECT mrlvec_accum(''{{1,2}}'', ''[1]'')'),
    ('SELECT mrlvec_accum(''{1,NULL}'', ''[1]'')'), ('SELECT mrlvec_accum(''{1,2,3}'', ''[1]'')'),
    ('SELECT mrlvec_combine(''{1,2,3}'', ''{1,2}'')'), ('SELECT mrlvec_avg(''{0,1,2}'')'),
    ('SELECT mrlvec_sum(''{1,NaN}'')'), ('SELECT mrlvec_avg(array_fill(1::float8, ARRAY[16002]))')
) statements(statement);
DO $$
DECLARE state float8[] := '{1,1,2}'; other float8[];
BEGIN
    other := mrlvec_accum(state, '[5,5]');
    RAISE NOTICE 'state % other %', state, other;
END $$;
DROP TABLE measured;
