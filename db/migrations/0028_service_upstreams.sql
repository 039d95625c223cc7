-- Who named a service's upstream, and who manages the service.

ALTER TABLE service
  -- The operator named it, so it may be in the operator's own network. What a merchant names has to be public.
  ADD COLUMN upstream_trusted boolean NOT NULL DEFAULT false,
  -- file: the gateways' services file says what it is; the management API does not change it.
  ADD COLUMN managed_by text NOT NULL DEFAULT 'api' CHECK (managed_by IN ('api', 'file'));

-- Whatever a merchant's request writes, it does not get past these: an upstream that it changes is not trusted any more.
CREATE FUNCTION service_of_tenant() RETURNS trigger
  LANGUAGE plpgsql
AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.upstream_trusted := false;
    NEW.managed_by := 'api';
    RETURN NEW;
  END IF;
  IF OLD.managed_by <> 'api' THEN
    RAISE EXCEPTION 'the service % is managed by a file', OLD.id USING ERRCODE = '42501';
  END IF;
  NEW.managed_by := OLD.managed_by;
  NEW.upstream_trusted := OLD.upstream_trusted AND NEW.upstream IS NOT DISTINCT FROM OLD.upstream;
  RETURN NEW;
END
$$;
CREATE TRIGGER service_of_tenant BEFORE INSERT OR UPDATE ON service
  FOR EACH ROW WHEN (current_user = 'stream_tenant') EXECUTE FUNCTION service_of_tenant();
