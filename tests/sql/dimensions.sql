-- The length in mrlvec(n), and casts to another length.

SELECT declaration, (refused(format('SELECT NULL::%s', declaration))).*
FROM (VALUES ('mrlvec(0)'), ('mrlvec(-1)'), ('mrlvec(16001)'), ('mrlvec(1,2)'), ('mrlvec(99999999999)'),
    ('mrlvec(''x'')'), ('mrlvec(16000)')) declarations(declaration);
SELECT format_type('mrlvec'::regtype, 768), format_type('mrlvec'::regtype, -1);

CREATE TEMPORARY TABLE item (id int, v mrlvec(3), w mrlvec);
INSERT INTO item VALUES (1, '[3,4,0]', '[3,4,0]');

-- On assignment a wrong length is an error, in whatever form the value comes.
SELECT statement, (refused(statement)).* FROM (VALUES
    ('INSERT INTO item VALUES (2, ''[1,2]'')'),
    ('INSERT INTO item (id, v) SELECT 2, w || w FROM item'),
    ('INSERT INTO item (id, v) VALUES (2, ARRAY[1,2,3,4])'),
    ('UPDATE item SET v = subvector(v, 1, 2)'),
    ('ALTER TABLE item ALTER w TYPE mrlvec(2)'),
    ('ALTER TABLE item ALTER w TYPE mrlvec(4)')
) statements(statement);

-- Where the user writes the cast, the vector is truncated to its leading dimensions and scaled to
-- length 1; a vector of that length stays as it is, and more dimensions than there are is an error.
SELECT w::mrlvec(2) AS leading_two, w::mrlvec(1) AS one, w::mrlvec(3) AS all_of_them FROM item;
SELECT l2_norm('[1,2,3,4,5,6,7]'::mrlvec::mrlvec(5)) AS norm,
       vector_dims(CAST('[1,2,3,4,5,6,7]'::mrlvec AS mrlvec(5))) AS dimensions;
SELECT '[0,0,1]'::mrlvec::mrlvec(2) AS zero_prefix;
SELECT ARRAY[3,4,12]::mrlvec(2) AS from_array, '{3,4,12}'::real[]::mrlvec(2) AS from_real;
SELECT ARRAY['[3,4,12]'::mrlvec, '[0,1,0]', NULL]::mrlvec(2)[] AS of_an_array;
SELECT statement, (refused(statement)).* FROM (VALUES
    ('SELECT w::mrlvec(4) FROM item'),
    ('SELECT ''[1,2,3]''::mrlvec(2)'),
    ('SELECT ''[1,2]''::mrlvec::mrlvec(3)'),
    ('SELECT ARRAY[1,2]::mrlvec(3)')
) statements(statement);

-- A column whose type names the length already is not checked again.
CREATE TEMPORARY VIEW cut AS SELECT v::mrlvec(3) AS same, w::mrlvec(3) AS checked, v::mrlvec(2) AS shorter, v::mrlvec AS any_length FROM item;
SELECT * FROM plan_of('SELECT * FROM cut') plan WHERE plan ~ 'Scan';
EXPLAIN (COSTS OFF, VERBOSE) SELECT * FROM cut;
SELECT * FROM cut;

-- So a change of the type that can be seen to change nothing rewrites nothing.
CREATE TEMPORARY TABLE big AS SELECT i AS id, ARRAY[i, 1, 0]::mrlvec::mrlvec(3) AS v FROM generate_series(1, 100) i;
SELECT pg_relation_filenode('big') AS before \gset
ALTER TABLE big ALTER v TYPE mrlvec;
SELECT pg_relation_filenode('big') = :before AS kept_without_length;
ALTER TABLE big ALTER v TYPE mrlvec(3);
SELECT pg_relation_filenode('big') = :before AS kept_with_a_length_that_rows_must_prove;

-- Prepared with a parameter for the length's place, PL/pgSQL, domains, composite types.
CREATE DOMAIN unit_vector AS mrlvec(2) CHECK (abs(l2_norm(VALUE) - 1) < 0.001);
SELECT '[0.6,0.8]'::unit_vector, (refused('SELECT ''[1,1]''::unit_vector')).*;
DO $$ DECLARE v mrlvec(2) := '[1,2]'; BEGIN v := '[1,2,3]'::mrlvec; END $$;
CREATE TYPE pair AS (left_one mrlvec(2), right_one mrlvec);
SELECT ROW('[1,2]', '[1,2,3]')::pair, (refused('SELECT ROW(''[1]'', ''[1]'')::pair')).*;
DROP TYPE pair;
DROP DOMAIN unit_vector;
