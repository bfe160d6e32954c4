-- mrl_embed and its kin, on all-MiniLM-L6-v2. That the vectors are right is shown by
-- tests/clients/test_goldens.py; here: forms, arguments, NULLs, counters.
SET mrl.default_model = '';

-- All forms; named arguments; the result has length 1 and no declared length.
SELECT vector_dims(mrl_embed('dog', 'search_query')) AS "384", vector_dims(mrl_embed('dog', 'search_query', 384)) AS "384 too",
       vector_dims(mrl_embed('dog', 'search_query', NULL, 'all-MiniLM-L6-v2')) AS "by a named model",
       vector_dims(mrl_embed(content => 'dog', prefix => NULL)) AS "named arguments",
       vector_dims(mrl_embed(prefix => 'clustering', content => 'dog', model => 'all-MiniLM-L6-v2', dim => 384)) AS "all of them",
       abs(l2_norm(mrl_embed('dog', 'search_query')) - 1) < 0.001 AS unit;
SELECT mrl_embed('dog', 'search_query') = mrl_embed('dog', 'search_query', 384, 'all-MiniLM-L6-v2') AS default_is_the_single_one,
       mrl_embed('dog', 'search_document') = mrl_embed('dog', NULL) AS no_prompts_add_nothing,
       mrl_embed('dog', NULL) = mrl_embed('cat', NULL) AS other_text;
-- A dimension that the model was not trained to be cut to: one warning a session.
SELECT vector_dims(mrl_embed('cat', 'search_query', 64)),
       abs(mrl_embed('cat', 'search_query', 64) <#> mrl_embed('cat', 'search_query')) > 0.999 AS the_leading_components;
SELECT vector_dims(mrl_embed('cat', 'search_query', 128));
SELECT vector_dims(mrl_embed('', 'search_query')) AS empty_text;

-- Arrays: one vector a text, bit for bit what a single call gives, in any order; NULL stays NULL.
SELECT mrl_embed(ARRAY['dog', NULL, '', 'a longer text about dogs and cats'], 'search_query')
     = ARRAY[mrl_embed('dog', 'search_query'), NULL, mrl_embed('', 'search_query'), mrl_embed('a longer text about dogs and cats', 'search_query')] AS same;
SET mrl.cache_size = 0;
SELECT bool_and(embeddings[position] = mrl_embed(text, 'search_query')) AS same_without_a_cache, count(*)
FROM (SELECT array_agg('text ' || i || repeat(' and more', i % 5) ORDER BY i % 3, i) AS texts FROM generate_series(1, 9) i) batch,
     LATERAL (SELECT mrl_embed(texts, 'search_query') AS embeddings OFFSET 0) embedded,
     LATERAL unnest(texts) WITH ORDINALITY single(text, position);
RESET mrl.cache_size;
SELECT mrl_embed('{}'::text[], 'search_query') AS none, mrl_embed(NULL::text[], 'search_query') IS NULL AS null_array,
       mrl_embed('{NULL,NULL}'::text[], NULL) AS nulls, array_length(mrl_embed('{a,b}'::text[], NULL, 384, 'all-MiniLM-L6-v2'), 1) AS named;
SELECT pg_typeof(mrl_embed('{a}'::text[], NULL)), pg_typeof(mrl_embed('a', NULL));
SELECT vector_dims(mrl_embed('varchar'::varchar, 'search_query')), array_length(mrl_embed('{a,b}'::varchar[], NULL), 1);

-- NULL in every position.
SELECT mrl_embed(NULL, 'search_query') IS NULL AS content, mrl_embed(NULL, NULL, NULL) IS NULL AS all_of_three,
       mrl_embed(NULL, NULL, NULL, 'all-MiniLM-L6-v2') IS NULL AS all_but_model,
       mrl_embed(NULL, 'search_query', 0) IS NULL AS nothing_else_is_looked_at;
SELECT statement, (refused(statement)).* FROM (VALUES
    (1, 'SELECT mrl_embed(''a'', NULL, NULL, NULL)'),
    (2, 'SELECT mrl_embed(NULL, NULL, NULL, NULL)'),
    (3, 'SELECT mrl_embed(ARRAY[''a''], NULL, NULL, NULL)'),
    (4, 'SELECT mrl_embed(''a'', ''search_query'', 0)'),
    (5, 'SELECT mrl_embed(''a'', ''search_query'', -1)'),
    (6, 'SELECT mrl_embed(''a'', ''search_query'', 385)'),
    (7, 'SELECT mrl_embed(''a'', ''search_query'', 769)'),
    (8, 'SELECT mrl_embed(''a'', ''search_query'', 2147483647)'),
    (9, 'SELECT mrl_embed(''a'', ''query'')'),
    (10, 'SELECT mrl_embed(''a'', '''')'),
    (11, 'SELECT mrl_embed(''a'', ''Search_Query'')'),
    (12, 'SELECT mrl_embed(ARRAY[''a''], ''query'')'),
    (13, 'SELECT mrl_embed(''{{a,b},{c,d}}''::text[], NULL)'),
    (14, 'SELECT mrl_tokens(''a'', ''query'')'),
    (15, 'SELECT mrl_embed(''a'', repeat(''long '', 5000))')
) statements(number, statement) ORDER BY number;
-- A model's name is one component of a path, and the model has to be there.
SELECT left(name, 20) AS name, code, left(message, 70) AS message, regexp_replace(detail, 'model_dir ".*" are', 'model_dir "…" are') AS detail, hint
FROM (VALUES (1, 'no-such-model'), (2, ''), (3, '.'), (4, '..'), (5, '../all-MiniLM-L6-v2'), (6, '/etc'), (7, 'a/b'), (8, 'all-MiniLM-L6-v2/'),
    (9, '.hidden'), (10, repeat('x', 10000)), (11, 'white space'), (12, 'ümlaut'), (13, E'new\nline')) names(number, name),
    LATERAL refused(format('SELECT mrl_embed(''a'', NULL, NULL, %L)', name))
ORDER BY number;
-- The directory's place is told only to those who may read the setting.
CREATE ROLE mrl_reader;
SET ROLE mrl_reader;
SELECT code, message, detail FROM refused('SELECT mrl_embed(''a'', NULL, NULL, ''no-such-model'')');
RESET ROLE;
DROP ROLE mrl_reader;
SET mrl.default_model = 'no-such-model';
SELECT code, message FROM refused('SELECT mrl_embed(''a'', NULL)');
SELECT vector_dims(mrl_embed('a', NULL, NULL, 'all-MiniLM-L6-v2')) AS a_named_one_still_works;
SET mrl.default_model = '../x';
SELECT code, message FROM refused('SELECT mrl_embed(''a'', NULL)');
RESET mrl.default_model;

-- Tokens: [CLS] and [SEP] included, as the reference tokenizer counts them; none cut off.
SELECT mrl_tokens('hello world', NULL), mrl_tokens('', 'search_query'), mrl_tokens(repeat('word ', 1000), NULL) AS a_long_text,
       mrl_tokens('hello', NULL, 'all-MiniLM-L6-v2') AS named, mrl_tokens(NULL, NULL) AS of_null;
SELECT (refused('SELECT mrl_tokens(''a'', NULL, ''no/model'')')).message;

-- A text longer than the model reads: one warning a statement, or an error.
SELECT count(mrl_embed(repeat('word ', 300 + i), 'search_document')) FROM generate_series(1, 3) i;
SELECT mrl_embed(repeat('word ', 300), NULL) = mrl_embed(repeat('word ', 254), NULL) AS what_is_read_decides;
SET mrl.on_long_text = 'error';
SELECT (refused('SELECT mrl_embed(repeat(''word '', 255), NULL)')).*;
SELECT vector_dims(mrl_embed(repeat('word ', 254), NULL)) AS just_fits;
RESET mrl.on_long_text;

-- A text of a megabyte: of words, of one word, of what no tokenizer knows.
SET client_min_messages = error;
SELECT vector_dims(mrl_embed(repeat('lorem ipsum ', 90000), NULL)) AS words, vector_dims(mrl_embed(repeat('x', 1000000), NULL)) AS one_word,
       vector_dims(mrl_embed(repeat('🙂', 250000), NULL)) AS emoji, vector_dims(mrl_embed(repeat(E'\u0301', 500000), NULL)) AS accents;
SELECT mrl_tokens(repeat('lorem ipsum ', 90000), NULL) AS tokens, mrl_tokens(repeat('x', 1000000), NULL) AS one_word;
RESET client_min_messages;

-- The models, and what this session has made of them.
SELECT name, architecture, dimensions, matryoshka_dimensions, prefixes, max_tokens, bytes, sha256, is_default, problem FROM mrl_models();
SELECT model, bytes, texts > forward_passes AS some_came_from_the_cache, tokens > 0 AS tokens, texts - forward_passes = cache_hits AS texts_add_up FROM mrl_status();

-- The planner: an expensive function, evaluated after cheaper conditions and after a LIMIT.
CREATE TABLE texts AS SELECT i AS id, 'text ' || i AS body FROM generate_series(1, 100) i;
SELECT forward_passes() AS before \gset
SELECT count(*) FROM texts WHERE vector_dims(mrl_embed(body, NULL)) = 384 AND id = 7;
SELECT forward_passes() - :before AS passes;
SELECT forward_passes() AS before \gset
SELECT id, vector_dims(mrl_embed(body, 'search_document')) FROM texts ORDER BY id DESC LIMIT 2;
SELECT forward_passes() - :before AS passes;
DROP TABLE texts;
