-- What the other tests use. Run first (see tests/schedule).

-- The error that a statement raises: what a client would see of it, the SQLSTATE included.
CREATE FUNCTION refused(statement text,
    OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS
        code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    -- Long values are named by their beginning, for the reader's sake.
    message := left(message, 160);
END
$$;

-- The plan's nodes without costs.
CREATE FUNCTION plan_of(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || statement;
END
$$;

-- How often this session has run the model.
CREATE FUNCTION forward_passes() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT coalesce(sum(forward_passes), 0)::bigint FROM mrl_status()';
