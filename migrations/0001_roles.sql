-- Who may do what in this database.
-- Why first: every later migration grants to these roles. Old code tolerates it: nothing existed before.
--
-- Roles belong to the whole cluster, so several databases share them; creating one that exists is no error.
-- All are NOLOGIN groups: whoever deploys makes login users and grants them one group each.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['portcullis_owner', 'portcullis_proxy', 'portcullis_server', 'portcullis_operator']
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster made it, perhaps at this very moment
        END;
    END LOOP;
END
$$;

-- The migrating user must be able to hand its tables to the owner role.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'portcullis_owner', 'MEMBER') THEN
        EXECUTE format('GRANT portcullis_owner TO %I', current_user);
    END IF;
END
$$;

-- A stolen login of ours should not be able to fill the disk with tables of its own.
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO portcullis_proxy, portcullis_server, portcullis_operator;
GRANT USAGE, CREATE ON SCHEMA public TO portcullis_owner;
