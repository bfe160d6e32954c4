-- Distances and arithmetic. Properties on random vectors are in tests/clients; here, values that
-- can be checked by hand.

SELECT '[1,2]'::mrlvec <#> '[3,4]' AS "<#>", '[1,2]'::mrlvec <-> '[4,6]' AS "<->",
       '[1,2]'::mrlvec <+> '[4,6]' AS "<+>", '[1,0]'::mrlvec <=> '[0,2]' AS "<=>";
SELECT inner_product('[1,2]'::mrlvec, '[3,4]'), cosine_distance('[1,1]'::mrlvec, '[-2,-2]'),
       l2_distance('[1,2]'::mrlvec, '[4,6]'), l1_distance('[1,2]'::mrlvec, '[4,6]'),
       sign_hamming_distance('[1,-1,0,2]'::mrlvec, '[1,1,1,-2]');
-- Wider than a half inside: no overflow, no loss.
SELECT '[65504,65504]'::mrlvec <#> '[65504,65504]' AS "<#>", '[65504,65504]'::mrlvec <=> '[65504,65504]' AS "<=>",
       '[-65504]'::mrlvec <-> '[65504]' AS "<->", '[5.9604645e-08]'::mrlvec <#> '[5.9604645e-08]' AS denormals,
       2.0::float8 ^ -48 AS expected;
SELECT '[0,0]'::mrlvec <=> '[1,2]' AS zero_has_no_angle, '[0,0]'::mrlvec <#> '[1,2]' AS zero;
SELECT '[1,1]'::mrlvec <=> '[1,1]' AS same, '[3,4]'::mrlvec <=> '[-3,-4]' AS opposite;

-- Of different lengths, <#> and <=> compare at the leading dimensions that both have: the longer
-- one is truncated and scaled to length 1.
SELECT '[3,4,12]'::mrlvec <#> '[1,0]' AS "<#>", '[1,0]'::mrlvec <#> '[3,4,12]' AS commuted, -3.0 / 5 AS expected;
SELECT '[3,4,12]'::mrlvec <=> '[1,0]' AS "<=>", '[1,0]'::mrlvec <=> '[3,4,12]' AS commuted, 1 - 3.0 / 5 AS expected;
SELECT '[0,0,1]'::mrlvec <#> '[1,0]' AS zero_prefix, '[0,0,1]'::mrlvec <=> '[1,0]' AS has_no_angle;
SELECT sign_hamming_distance('[1,-1,1]'::mrlvec, '[-1]');
SELECT operator, (refused(format('SELECT ''[1,2]''::mrlvec %s ''[3]''', operator))).*
FROM unnest('{<->,<+>,+,-,*}'::text[]) operator;
SELECT (refused('SELECT l2_distance(''[1,2]''::mrlvec, ''[3]'')')).*;
SELECT (refused('SELECT l1_distance(''[1,2]''::mrlvec, ''[3]'')')).*;

-- A vector against stored signs, which stand for a vector of length 1.
SELECT '[3,4]'::mrlvec <#> B'10' AS "mrlvec <#> bit", B'10' <#> '[3,4]'::mrlvec AS "bit <#> mrlvec",
       -(3 - 4) / sqrt(2::float8) AS expected;
SELECT '[3,4,100]'::mrlvec <#> B'11' AS longer_vector, -7 / (5 * sqrt(2::float8)) AS expected,
       '[3,4]'::mrlvec <#> B'1101' AS longer_bits, -7 / sqrt(2::float8) AS expected_too;
SELECT '[1,2,3,4,5,6,7,8,9]'::mrlvec <#> '[1,2,3,4,5,6,7,8,9]'::mrlvec::bit(9) AS all_signs, -45 / 3.0 AS expected;
SELECT '[1]'::mrlvec <#> B'' AS no_shared_dimensions;

SELECT '[1,2,3]'::mrlvec + '[4,5,6]' AS "+", '[1,2,3]'::mrlvec - '[4,5,6]' AS "-",
       '[1,2,3]'::mrlvec * '[4,5,6]' AS "*", '[1,2]'::mrlvec || '[3]' AS "||";
SELECT statement, (refused(statement)).* FROM (VALUES
    (1, 'SELECT ''[65504]''::mrlvec + ''[65504]'''),
    (2, 'SELECT ''[-65504]''::mrlvec - ''[65504]'''),
    (3, 'SELECT ''[300]''::mrlvec * ''[300]'''),
    (4, 'SELECT ''[1e-7]''::mrlvec * ''[1e-7]'''),
    (5, 'SELECT array_fill(1, ARRAY[16000])::mrlvec || ''[1]''')
) statements(number, statement) ORDER BY number;
SELECT '[65504]'::mrlvec + '[15]' AS rounds_down, '[0,1e-7]'::mrlvec * '[1e-7,0]' AS zero_is_no_underflow;

-- NULL in, NULL out.
SELECT '[1]'::mrlvec <#> NULL::mrlvec AS a, NULL::mrlvec <=> '[1]' AS b, NULL::mrlvec + '[1]' AS c,
       '[1]'::mrlvec <#> NULL::bit AS d, vector_dims(NULL::mrlvec) AS e, l2_normalize(NULL::mrlvec) AS f,
       subvector('[1]'::mrlvec, NULL, 1) AS g, NULL::mrlvec::mrlvec(3) AS h, NULL::mrlvec::bit(3) AS i;

-- Functions.
SELECT vector_dims('[1,2,3]'::mrlvec), l2_norm('[3,4]'::mrlvec), l2_normalize('[3,4]'::mrlvec), l2_normalize('[0,0]'::mrlvec),
       l2_norm('[65504,65504]'::mrlvec) AS large, l2_normalize('[65504,0]'::mrlvec), l2_normalize('[6e-08,0]'::mrlvec);
SELECT subvector('[1,2,3,4,5]'::mrlvec, 1, 3) AS first, subvector('[1,2,3,4,5]'::mrlvec, 3, 9) AS clipped,
       subvector('[1,2,3,4,5]'::mrlvec, -1, 3) AS before_the_first, subvector('[1,2,3,4,5]'::mrlvec, 2, 2147483647) AS far;
SELECT start, count, (refused(format('SELECT subvector(''[1,2,3]''::mrlvec, %s, %s)', start, count))).*
FROM (VALUES (1, 0), (1, -1), (4, 1), (-3, 2), (2147483647, 2147483647), (-2147483648, -2147483648), (-2147483648, 2147483647)) cases(start, count);
-- What a client's named-argument or untyped call meets: nothing is ambiguous with pg_mrl alone.
SELECT vector_dims('[1,2]'), l2_norm('[3,4]'), inner_product('[1,2]', '[3,4]'), '[1,2]'::mrlvec <-> '[1,3]';
