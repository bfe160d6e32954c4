-- Text and binary form of mrlvec.

SELECT '[1,2,3]'::mrlvec, '[-0,0.5,-1e3]'::mrlvec, ' [ 1 , 2.0	,
3e0 ] '::mrlvec AS spaces, '[+1,.5,1.]'::mrlvec AS forms;
SELECT '[65504,-65504,6.1035156e-05,5.9604645e-08,1e-8]'::mrlvec;
-- The nearest half, and of two equally near ones the even one; a number is rounded once, from the
-- decimal, not by way of a single: 1 + 2^-11 + 2^-30 lies above the middle.
SELECT '[2049,2051,1.00048828125,1.000488282181322574615478515625,65519.99,2.98e-08,2.9802322387695312e-08]'::mrlvec;
SELECT ('[' || repeat('1,', 15999) || '1]')::mrlvec = array_fill(1, ARRAY[16000])::mrlvec AS longest;

SELECT literal, (refused(format('SELECT %L::mrlvec', literal))).*
FROM (VALUES
    (1, '[1,2'), (2, '[]'), (3, '[1,,2]'), (4, '[1e9]'), (5, '[NaN]'), (6, '[inf]'), (7, '[-Infinity]'),
    (8, ''), (9, '  '), (10, '1,2'), (11, '[1,2]x'), (12, '[1,2] ]'), (13, '[1,2,]'), (14, '[,1]'), (15, '['),
    (16, '[ ]'), (17, '[1 2]'), (18, '[abc]'), (19, '[0x10]'), (20, '[1e]'), (21, '[--1]'), (22, '[65520]'),
    (23, '[-65520]'), (24, '[1e400]'), (25, '{1,2}'), (26, '[1;2]'), (27, '[''1'']'), (28, '[é]'),
    (29, '[1,[2]]'), (30, '[.]'), (31, '[e5]'), (32, '[1_000]')
) literals(number, literal) ORDER BY number;
SELECT (refused(format('SELECT %L::mrlvec', '[' || repeat('1,', 16000) || '1]'))).*;
SELECT (refused(format('SELECT %L::mrlvec', '[' || repeat('1', 200000)))).code;

-- Every half there is: 2 signs, 31 exponents, 1024 mantissas. Printed as the server prints a real,
-- and what is printed reads as the same bits. The halfs are made here from their definition.
CREATE TEMPORARY TABLE half AS
SELECT bits, (CASE WHEN bits >= 32768 THEN -1 ELSE 1 END
              * CASE WHEN exponent = 0 THEN fraction * 2.0::float8 ^ -24
                     ELSE (1024 + fraction) * 2.0::float8 ^ (exponent - 25) END)::real AS value
FROM generate_series(0, 65535) bits,
     LATERAL (SELECT (bits >> 10) & 31 AS exponent, bits & 1023 AS fraction) parts
WHERE exponent < 31;
-- −0 is not made by a product of −1 and 0 in every server's arithmetic.
UPDATE half SET value = '-0' WHERE bits = 32768;
SELECT count(*) AS halfs,
       count(*) FILTER (WHERE ARRAY[value]::mrlvec::text = format('[%s]', value)) AS printed_as_real,
       count(*) FILTER (WHERE substr(mrlvec_send(format('[%s]', value)::mrlvec), 5)
                            = set_byte(set_byte('\x0000', 0, bits >> 8), 1, bits & 255)) AS read_to_the_bits,
       count(*) FILTER (WHERE mrlvec_send(ARRAY[value]::mrlvec::text::mrlvec) = mrlvec_send(ARRAY[value]::mrlvec)) AS round_trip
FROM half;

-- Halfway points between neighbours go to the even one, from text and from every array.
WITH neighbours AS (
    SELECT bits, value::float8, lead(value::float8) OVER (ORDER BY bits) AS next
    FROM half WHERE bits < 32768
), halfway AS (
    SELECT (value + next) / 2 AS middle, CASE WHEN bits % 2 = 0 THEN value ELSE next END AS even
    FROM neighbours WHERE next IS NOT NULL
)
SELECT count(*) AS points,
       count(*) FILTER (WHERE format('[%s]', middle)::mrlvec = ARRAY[even]::mrlvec) AS by_text,
       count(*) FILTER (WHERE ARRAY[middle]::mrlvec = ARRAY[even]::mrlvec) AS by_float8,
       count(*) FILTER (WHERE ARRAY[middle::real]::mrlvec = ARRAY[even]::mrlvec) AS by_float4,
       count(*) FILTER (WHERE ARRAY[middle::text::numeric]::mrlvec = ARRAY[even]::mrlvec) AS by_numeric,
       count(*) FILTER (WHERE ARRAY[-middle]::mrlvec = ARRAY[-even]::mrlvec) AS negative
FROM halfway;

-- The binary form, byte by byte: dimensions, zero, halfs, all big-endian.
SELECT mrlvec_send('[1,-2,0.5,-0]');
SELECT count(*) FILTER (WHERE length(mrlvec_send(array_fill(0.25, ARRAY[n])::mrlvec)) = 4 + 2 * n) AS lengths
FROM generate_series(1, 16000, 533) n;

-- COPY in both formats gives the same rows back.
CREATE TEMPORARY TABLE original (id int, v mrlvec, w mrlvec(3));
INSERT INTO original SELECT i, ARRAY[i, -i / 7.0, 1.0 / i]::mrlvec, ARRAY[i, i * 0.001, 0]::mrlvec
FROM generate_series(1, 500) i;
INSERT INTO original VALUES (501, NULL, NULL);
CREATE TEMPORARY TABLE copied (LIKE original);
\set text_file `echo "$PGDATA/mrl_copy.text"`
\set binary_file `echo "$PGDATA/mrl_copy.binary"`
COPY original TO :'text_file';
COPY copied FROM :'text_file';
COPY original TO :'binary_file' (FORMAT binary);
COPY copied FROM :'binary_file' (FORMAT binary);
SELECT count(*) AS rows, count(DISTINCT (id, v::text, w::text)) AS different_ones FROM copied;
SELECT count(*) FROM copied JOIN original USING (id)
WHERE (copied.v = original.v AND copied.w = original.w) OR (copied.v IS NULL AND original.v IS NULL);
