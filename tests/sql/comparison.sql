-- Order, equality, and what indexes, sorts and joins do with them.

SELECT '[1,2]'::mrlvec = '[1,2]' AS "=", '[1,2]'::mrlvec <> '[1,2,0]' AS "<>", '[1,2]'::mrlvec < '[1,2,0]' AS shorter_first,
       '[1,3]'::mrlvec > '[1,2,9]' AS by_components, '[-0]'::mrlvec = '[0]' AS zeros, '[1]'::mrlvec <= '[1]' AS "<=", '[1]'::mrlvec >= '[2]' AS ">=";

CREATE TABLE pile (id int, v mrlvec);
INSERT INTO pile SELECT i, ARRAY[i % 7 - 3, (i * 37) % 11]::mrlvec FROM generate_series(1, 1000) i;
INSERT INTO pile VALUES (1001, NULL), (1002, '[-0,0]'), (1003, '[0,-0]'), (1004, '[0]'), (1005, '[1,2,3]');

-- All ways to sort and to group agree.
SELECT count(DISTINCT v) FROM pile;
SELECT count(*) FROM (SELECT v FROM pile GROUP BY v) grouped;
SET enable_hashagg = off;
SELECT count(*) FROM (SELECT v FROM pile GROUP BY v) sorted;
RESET enable_hashagg;
SELECT v, count(*) FROM pile GROUP BY v ORDER BY v LIMIT 5;
SELECT max(id) FROM (SELECT id, v, lag(v) OVER (ORDER BY v) AS former FROM pile) steps WHERE v < former;

-- B-tree: equality, ranges, order, uniqueness.
CREATE INDEX pile_btree ON pile (v);
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT * FROM plan_of('SELECT id FROM pile WHERE v = ''[0,0]''');
SELECT id FROM pile WHERE v = '[0,0]' AND id > 990 ORDER BY id;
SELECT count(*) FROM pile WHERE v >= '[-1]' AND v < '[1,5]';
RESET enable_seqscan; RESET enable_bitmapscan;
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SELECT count(*) FROM pile WHERE v >= '[-1]' AND v < '[1,5]';
RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan;
CREATE UNIQUE INDEX pile_unique ON pile (v);
ALTER TABLE pile ADD PRIMARY KEY (id);
DROP INDEX pile_btree;

-- Hash index, hash join, merge join; equal vectors hash alike (−0 and 0).
CREATE INDEX pile_hash ON pile USING hash (v);
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT * FROM plan_of('SELECT id FROM pile WHERE v = ''[0,0]''');
SELECT id FROM pile WHERE v = '[0,0]' AND id > 990 ORDER BY id;
RESET enable_seqscan; RESET enable_bitmapscan;
DROP INDEX pile_hash;
SELECT mrlvec_hash('[0,1]') = mrlvec_hash('[-0,1]') AS same, mrlvec_hash('[0,1]') = mrlvec_hash('[0,1,0]') AS other,
       mrlvec_hash_extended('[0,1]', 7) = mrlvec_hash_extended('[-0,1]', 7) AS same_extended,
       mrlvec_hash_extended('[0,1]', 7) = mrlvec_hash_extended('[0,1]', 8) AS other_seed,
       mrlvec_hash_extended('[0,1]', 0)::bit(64)::bit varying(64)::text LIKE '%' || mrlvec_hash('[0,1]')::bit(32)::text AS low_half_of_the_extended;
SET enable_mergejoin = off; SET enable_nestloop = off;
SELECT count(*) FROM pile a JOIN pile b USING (v);
SET enable_hashjoin = off; RESET enable_mergejoin;
SELECT count(*) FROM pile a JOIN pile b USING (v);
SET enable_mergejoin = off; RESET enable_nestloop;
SELECT count(*) FROM pile a JOIN pile b USING (v);
RESET enable_mergejoin; RESET enable_hashjoin;

-- Partitioned by hash, and as an array's elements.
CREATE TABLE split (v mrlvec) PARTITION BY HASH (v);
CREATE TABLE split_0 PARTITION OF split FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE split_1 PARTITION OF split FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO split SELECT v FROM pile;
SELECT count(*) AS rows, count(*) FILTER (WHERE tableoid = 'split_0'::regclass) BETWEEN 300 AND 700 AS spread FROM split;
SELECT ARRAY['[1]'::mrlvec, '[2]'] @> ARRAY['[2]'::mrlvec] AS contains, ARRAY['[1]'::mrlvec] < ARRAY['[2]'::mrlvec] AS less, '[-0]'::mrlvec IN ('[1]', '[0]') AS "in";
DROP TABLE pile, split;
ANALYZE;
