-- mrl_embed_trigger: a row trigger that keeps a column of embeddings filled.
SET client_min_messages = warning;
CREATE TABLE article (
    id int GENERATED ALWAYS AS IDENTITY, title text, body text, views int DEFAULT 0,
    emb mrlvec(384), shout text GENERATED ALWAYS AS (upper(title)) STORED
);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON article
    FOR EACH ROW EXECUTE FUNCTION mrl_embed_trigger('emb', 'search_document', 'body');

INSERT INTO article (title, body) VALUES ('wolves', 'The dog descends from the wolf.'), ('nothing', NULL), ('cats', '');
SELECT id, title, emb = mrl_embed(body, 'search_document') AS embedded, emb IS NULL AS is_null FROM article ORDER BY id;

-- Embedded anew only when the source changes. (Counted without the cache.)
SET mrl.cache_size = 0;
SELECT forward_passes() AS before \gset
UPDATE article SET views = views + 1;
UPDATE article SET title = upper(title), body = body;
SELECT forward_passes() - :before AS passes_without_change;
UPDATE article SET body = 'A cat is a small carnivore.' WHERE id = 1;
SELECT forward_passes() - :before AS passes_with_a_change;
UPDATE article SET body = NULL WHERE id = 1;
SELECT emb IS NULL AS source_became_null FROM article WHERE id = 1;
UPDATE article SET body = 'Back again.' WHERE id = 1;
SELECT emb = mrl_embed('Back again.', 'search_document') AS and_came_back FROM article WHERE id = 1;
-- What the user writes into the column is overwritten on insert; an update that leaves the source
-- alone leaves it too.
INSERT INTO article (body, emb) VALUES ('mine', (SELECT emb FROM article WHERE id = 1));
SELECT emb = mrl_embed('mine', 'search_document') AS embedded FROM article WHERE body = 'mine';
UPDATE article SET emb = NULL WHERE body = 'mine';
SELECT emb IS NULL AS left_alone FROM article WHERE body = 'mine';
RESET mrl.cache_size;

-- COPY, INSERT … SELECT, ON CONFLICT.
ALTER TABLE article ADD UNIQUE (body);
COPY article (title, body) FROM stdin;
copied	A line of a file.
\.
INSERT INTO article (title, body) SELECT 'selected', 'Row ' || i FROM generate_series(1, 2) i;
INSERT INTO article (title, body) VALUES ('again', 'Row 1') ON CONFLICT (body) DO UPDATE SET body = 'Row 1, changed';
SELECT title, body, emb = mrl_embed(body, 'search_document') AS embedded FROM article WHERE id > 4 ORDER BY body;

-- A template of several columns, a dimension, a model. A column that is NULL is left out of it as
-- an empty text; with all NULL there is nothing to embed.
CREATE TABLE book (id int, "odd ""name" text, author text, year int, emb mrlvec);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON book FOR EACH ROW EXECUTE FUNCTION
    mrl_embed_trigger('emb', 'search_document', '{odd "name} by {author} ({year}) {{literal}}', 'dim=384', 'model=all-MiniLM-L6-v2');
INSERT INTO book VALUES (1, 'Relativity', 'Einstein', 1916), (2, 'Poems', NULL, 1900), (3, NULL, NULL, NULL);
SELECT id, emb = mrl_embed(format('%s by %s (%s) {literal}', "odd ""name", author, year), 'search_document') AS embedded, emb IS NULL AS is_null FROM book ORDER BY id;
SELECT forward_passes() AS before \gset
UPDATE book SET year = 1917 WHERE id = 1;
SELECT forward_passes() - :before AS passes;

-- A column that was dropped, partitions with another order of columns, a renamed column.
ALTER TABLE book DROP COLUMN id;
INSERT INTO book (author) VALUES ('after a drop');
SELECT emb = mrl_embed(' by after a drop () {literal}', 'search_document') AS embedded FROM book WHERE author = 'after a drop';
ALTER TABLE book RENAME author TO writer;
SELECT (refused('INSERT INTO book (writer) VALUES (''x'')')).*;
CREATE TABLE parted (id int, body text, emb mrlvec(384)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 (emb mrlvec(384), unused int, body text, id int);
ALTER TABLE parted_1 DROP COLUMN unused;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION mrl_embed_trigger('emb', 'clustering', 'body');
INSERT INTO parted VALUES (1, 'one'), (11, 'eleven');
UPDATE parted SET id = 12, body = 'twelve' WHERE id = 1;
SELECT id, body, emb = mrl_embed(body, 'clustering') AS embedded FROM parted ORDER BY id;
DROP TABLE parted, book;

-- What a source's type prints is its text, under the settings of the session.
SET datestyle = 'ISO';
CREATE TABLE odd (id int, j jsonb, n numeric, d date, s varchar(20), emb mrlvec);
CREATE TRIGGER embed BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION mrl_embed_trigger('emb', 'clustering', '{j} {n} {d} {s}');
INSERT INTO odd VALUES (1, '{"a": 1}', 1.50, '2026-02-03', 'x');
SELECT emb = mrl_embed('{"a": 1} 1.50 2026-02-03 x', 'clustering') AS embedded FROM odd;
DROP TABLE odd;

-- What is wrong is said when the row comes.
CREATE FUNCTION with_trigger(definition text, statement text DEFAULT 'INSERT INTO article (body) VALUES (''a text'')')
RETURNS TABLE (code text, message text, detail text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    DROP TRIGGER IF EXISTS embed ON article;
    BEGIN
        EXECUTE 'CREATE TRIGGER embed ' || definition;
    EXCEPTION WHEN OTHERS THEN
        RETURN QUERY SELECT SQLSTATE::text, SQLERRM::text, NULL::text, NULL::text;
        RETURN;
    END;
    RETURN QUERY SELECT error.code, error.message, regexp_replace(error.detail, 'model_dir ".*" are', 'model_dir "…" are'), error.hint
        FROM refused(statement) error;
    DROP TRIGGER embed ON article;
END
$$;
SELECT arguments, (with_trigger(format('BEFORE INSERT OR UPDATE ON article FOR EACH ROW EXECUTE FUNCTION mrl_embed_trigger(%s)', arguments))).*
FROM (VALUES (1, ''), (2, '''emb'''), (3, '''emb'', ''search_document'''), (4, '''emb'', ''search_document'', ''bodi'''), (5, '''embed'', ''search_document'', ''body'''),
    (6, '''title'', ''search_document'', ''body'''), (7, '''emb'', ''query'', ''body'''), (8, '''emb'', ''search_document'', ''body'', ''dim=64'''),
    (9, '''emb'', ''search_document'', ''body'', ''dim=0'''), (10, '''emb'', ''search_document'', ''body'', ''dim=x'''), (11, '''emb'', ''search_document'', ''body'', ''model=no-such-model'''),
    (12, '''emb'', ''search_document'', ''body'', ''model='''), (13, '''emb'', ''search_document'', ''body'', ''size=3'''), (14, '''emb'', ''search_document'', ''body'', ''dim=384'', ''dim=384'''),
    (15, '''emb'', ''search_document'', ''{body'''), (16, '''emb'', ''search_document'', ''{}'''), (17, '''emb'', ''search_document'', ''no columns {{ }}'''),
    (18, '''shout'', ''search_document'', ''body'''), (19, '''emb'', ''search_document'', ''shout'''), (20, '''emb'', ''search_document'', ''emb'''), (21, '''emb'', ''search_document'', ''{body} }''')
) wrong(number, arguments) ORDER BY number;
SELECT definition, (with_trigger(definition || ' EXECUTE FUNCTION mrl_embed_trigger(''emb'', ''search_document'', ''body'')', statement)).code, (with_trigger(definition || ' EXECUTE FUNCTION mrl_embed_trigger(''emb'', ''search_document'', ''body'')', statement)).message
FROM (VALUES ('AFTER INSERT ON article FOR EACH ROW', 'INSERT INTO article (body) VALUES (''after'')'), ('BEFORE INSERT ON article FOR EACH STATEMENT', 'INSERT INTO article (body) VALUES (''statement'')'),
    ('BEFORE DELETE ON article FOR EACH ROW', 'DELETE FROM article WHERE id = 1'), ('BEFORE TRUNCATE ON article', 'TRUNCATE article')) wrong(definition, statement);
SELECT (refused('SELECT mrl_embed_trigger()')).*;
-- A statement that failed left nothing behind, and the session goes on.
SELECT count(*) FROM article WHERE body = 'a text';

-- With WHEN, with UPDATE OF, after another trigger that changes the source.
CREATE TRIGGER embed BEFORE INSERT OR UPDATE OF body ON article FOR EACH ROW WHEN (NEW.body LIKE 'yes%')
    EXECUTE FUNCTION mrl_embed_trigger('emb', 'search_document', 'body');
CREATE FUNCTION improve() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := NEW.body || ', improved'; RETURN NEW; END $$;
CREATE TRIGGER a_first BEFORE INSERT ON article FOR EACH ROW EXECUTE FUNCTION improve();
INSERT INTO article (title, body) VALUES ('w', 'yes, embed'), ('w', 'no');
SELECT body, emb = mrl_embed('yes, embed, improved', 'search_document') AS embedded FROM article WHERE title = 'w' ORDER BY id;
DROP TABLE article;
DROP FUNCTION with_trigger, improve;
