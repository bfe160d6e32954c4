-- Casts between mrlvec and arrays, bit strings, text.

SELECT ARRAY[1,2,3]::mrlvec, '{1,2.5,-0}'::real[]::mrlvec, '{1,2.5,1e-9}'::float8[]::mrlvec,
       '{1,2.5,0.1}'::numeric[]::mrlvec, '[2:4]={7,8,9}'::int[]::mrlvec AS lower_bound;
SELECT '[0.1,-2,65504]'::mrlvec::real[], '[0.1,-2,65504]'::mrlvec::float8[], '[1,2]'::mrlvec::text, '[1,2]'::text::mrlvec;

CREATE TEMPORARY TABLE target (v mrlvec(2), r real[], d float8[], b bit(2), vb varbit, vb1 varbit(1));
INSERT INTO target (v) VALUES (ARRAY[1,2]), ('{3,4}'::real[]), ('{5,6}'::float8[]), ('{7,8}'::numeric[]);
UPDATE target SET r = v, d = v, b = v, vb = v;
SELECT v, r, d, b, vb FROM target;

SELECT statement, (refused(statement)).* FROM (VALUES
    (1, 'SELECT ''{}''::real[]::mrlvec'),
    (2, 'SELECT ''{{1,2},{3,4}}''::real[]::mrlvec'),
    (3, 'SELECT ''{1,NULL}''::real[]::mrlvec'),
    (4, 'SELECT ''{1,NaN}''::real[]::mrlvec'),
    (5, 'SELECT ''{1,Infinity}''::float8[]::mrlvec'),
    (6, 'SELECT ''{NaN}''::numeric[]::mrlvec'),
    (7, 'SELECT ''{-Infinity}''::numeric[]::mrlvec'),
    (8, 'SELECT ''{1,2,70000}''::int[]::mrlvec'),
    (9, 'SELECT ''{-65520}''::float8[]::mrlvec'),
    (10, 'SELECT ''{1e100}''::numeric[]::mrlvec'),
    (11, 'SELECT ''{1e1000}''::numeric[]::mrlvec'),
    (12, 'SELECT array_fill(1, ARRAY[16001])::mrlvec'),
    (13, 'SELECT ''{a}''::text[]::mrlvec'),
    (14, 'INSERT INTO target (b) VALUES (''[1,2,3]''::mrlvec)'),
    (15, 'INSERT INTO target (b) VALUES (''[1]''::mrlvec)'),
    (16, 'INSERT INTO target (vb1) VALUES (''[1,1]''::mrlvec)'),
    (17, 'SELECT ''[1,2]''::mrlvec::bit(3)'),
    (18, 'SELECT ''[1,2]''::mrlvec::int[]'),
    (19, 'SELECT B''101''::mrlvec')
) statements(number, statement) ORDER BY number;
SELECT '{65519,1e-300,4.9e-324}'::float8[]::mrlvec, '{65519.999,1e-30}'::numeric[]::mrlvec, '{-65519}'::int[]::mrlvec;

-- Signs: 1 where greater than 0.
SELECT '[1,-1,0,-0,5e-08,-5e-08,65504,2,3]'::mrlvec AS v \gset
SELECT :'v'::mrlvec::bit(9) AS "bit(9)", :'v'::mrlvec::bit(3) AS "bit(3)", :'v'::mrlvec::bit AS "bit(1)",
       :'v'::mrlvec::varbit AS varbit, :'v'::mrlvec::varbit(4) AS "varbit(4)", :'v'::mrlvec::varbit(20) AS "varbit(20)",
       binary_quantize(:'v'::mrlvec) AS binary_quantize;
SELECT count(*) AS lengths, bool_and(length(bits) = n) AS right_length,
       bool_and(bits = (SELECT string_agg(CASE WHEN i % 3 = 0 THEN '1' ELSE '0' END, '' ORDER BY i)::varbit FROM generate_series(1, n) i)) AS right_bits
FROM generate_series(1, 100) n,
     LATERAL (SELECT (SELECT array_agg(CASE WHEN i % 3 = 0 THEN 0.5 ELSE -0.5 END ORDER BY i) FROM generate_series(1, n) i)::mrlvec::varbit AS bits) cut;
