-- What the extension brings, seen in the catalog.

CREATE TEMPORARY VIEW object AS
SELECT depend.classid, depend.objid, identity.type, identity.identity
FROM pg_depend depend,
     pg_identify_object(depend.classid, depend.objid, depend.objsubid) identity
WHERE depend.refclassid = 'pg_extension'::regclass AND depend.deptype = 'e'
  AND depend.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_mrl');

-- (From release 17 on a type's array type is a member too.)
SELECT type, count(*) FROM object WHERE identity NOT LIKE '%[]' GROUP BY type ORDER BY type;

-- Every object has a comment. (A type's array type is made by the server.)
SELECT type, identity FROM object
WHERE obj_description(objid, classid::regclass::name) IS NULL
  AND identity NOT IN ('public.mrlvec[]', 'public._mrlvec')
ORDER BY 1, 2;

-- Functions: what depends on arguments alone is IMMUTABLE, nothing is SECURITY DEFINER or
-- LEAKPROOF, all are of the library itself.
SELECT proc.oid::regprocedure AS function, proc.provolatile AS volatility,
       proc.proparallel AS parallel, proc.proisstrict AS strict, proc.procost AS cost
FROM pg_proc proc JOIN object ON object.classid = 'pg_proc'::regclass AND object.objid = proc.oid
WHERE proc.provolatile <> 'i' OR proc.proparallel <> 's' OR proc.procost <> 1 OR NOT proc.proisstrict
ORDER BY proc.oid::regprocedure::text COLLATE "C";

SELECT count(*) FROM pg_proc proc JOIN object ON object.classid = 'pg_proc'::regclass AND object.objid = proc.oid
WHERE proc.prosecdef OR proc.proleakproof
   OR proc.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') AND proc.prokind <> 'a'
      AND proc.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}';

-- No operator or function whose arguments are all built-in types may take one of pgvector's names:
-- both extensions have to load into one schema. The names that remain are our own.
SELECT proc.oid::regprocedure AS function
FROM pg_proc proc JOIN object ON object.classid = 'pg_proc'::regclass AND object.objid = proc.oid
WHERE NOT EXISTS (SELECT FROM unnest(proc.proargtypes) argument WHERE argument = 'mrlvec'::regtype)
ORDER BY proc.oid::regprocedure::text COLLATE "C";

SELECT oper.oid::regoperator AS operator
FROM pg_operator oper JOIN object ON object.classid = 'pg_operator'::regclass AND object.objid = oper.oid
WHERE oper.oprleft <> 'mrlvec'::regtype AND oper.oprright <> 'mrlvec'::regtype;

-- Operators: each in one line, with its commutator and negator.
SELECT oper.oid::regoperator AS operator, oper.oprcode AS function, oper.oprresult::regtype AS result,
       oper.oprcom::regoperator AS commutator, oper.oprnegate::regoperator AS negator,
       oper.oprrest AS restrict, oper.oprjoin AS "join", oper.oprcanhash AS hashes, oper.oprcanmerge AS merges
FROM pg_operator oper JOIN object ON object.classid = 'pg_operator'::regclass AND object.objid = oper.oid
ORDER BY oper.oid::regoperator::text COLLATE "C";

SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod, castfunc::regprocedure
FROM pg_cast JOIN object ON object.classid = 'pg_cast'::regclass AND object.objid = pg_cast.oid
ORDER BY 1::text, 2::text;

-- The access methods find nothing wrong with the operator classes.
SELECT opcname, amname, opcdefault, amvalidate(opclass.oid)
FROM pg_opclass opclass JOIN pg_am ON pg_am.oid = opcmethod
WHERE opcintype = 'mrlvec'::regtype ORDER BY opcname, amname;

SELECT typlen, typalign, typstorage FROM pg_type WHERE oid = 'mrlvec'::regtype;

\c -
-- A session can't choose files, not by setting a name before the library is loaded either.
SET mrl.model_dir = '/tmp';
LOAD 'pg_mrl';
SELECT current_setting('mrl.model_dir') = '/tmp' AS chosen_by_the_session;
SET mrl.model_dir = '/tmp';
SET mrl.max_tokens = 100;

SELECT name, setting, unit, context, vartype, min_val, max_val, enumvals, boot_val
FROM pg_settings WHERE name LIKE 'mrl.%' AND name <> 'mrl.model_dir' ORDER BY name;

-- A misspelt setting or value is refused.
SET mrl.cache_sise = 1;
SET mrl.encoder = 'moon';

-- Who is not a superuser does not see where the models lie.
CREATE ROLE mrl_reader;
SET ROLE mrl_reader;
SELECT code FROM refused('SHOW mrl.model_dir');
RESET ROLE;
DROP ROLE mrl_reader;
