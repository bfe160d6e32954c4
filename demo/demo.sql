-- The six-sentence example: psql runs this against a throw-away cluster in `make demo`.
\pset footer off
\pset linestyle unicode
\pset border 2

\echo '--- the extension, and a table whose vectors a model fills'
\set ECHO queries
CREATE EXTENSION pg_mrl;

CREATE TABLE docs (id int GENERATED ALWAYS AS IDENTITY, body text, emb mrlvec(384));

INSERT INTO docs (body, emb)
SELECT body, mrl_embed(body, 'search_document')
FROM (VALUES
  ('The dog (Canis familiaris or Canis lupus familiaris) is a domesticated descendant of the wolf.'),
  ('Albert Einstein was born in Ulm in the Kingdom of Württemberg in the German Empire, on 14 March 1879.'),
  ('Einstein excelled at physics and mathematics from an early age, and soon acquired the mathematical expertise normally only found in a child several years his senior.'),
  ('Werner Karl Heisenberg was a German theoretical physicist, one of the main pioneers of the theory of quantum mechanics, and a principal scientist in the Nazi nuclear weapons program during World War II.'),
  ('Steven Paul Jobs (February 24, 1955 - October 5, 2011) was an American businessman, inventor, and investor best known for co-founding the technology giant Apple Inc.'),
  ('The cat (Felis catus), commonly referred to as the domestic cat or house cat, is the only domesticated species in the family Felidae.')
) AS sentences (body);

\set ECHO none
\echo
\echo '--- how near each is to the question, by all 384 dimensions and by the first 64'
\echo '    (the warning is meant: this small model was not trained to be cut to 64)'
\set ECHO queries
SELECT left(body, 60) || '…' AS sentence,
       round((-(emb <#> mrl_embed('Where was Albert Einstein born?', 'search_query')))::numeric, 4) AS "384 dimensions",
       round((-(emb <#> mrl_embed('Where was Albert Einstein born?', 'search_query', 64)))::numeric, 4) AS "64 dimensions"
FROM docs
ORDER BY emb <#> mrl_embed('Where was Albert Einstein born?', 'search_query', 64);
