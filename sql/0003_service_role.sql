-- The service's own role: what users' roles may only read, the API and the worker write as `recto_service`. Acting for a
-- user it carries the user's claims, and the policies then wall it in like the user; without claims it is the worker,
-- which sees everybody's rows.
do $$
begin
    if not exists (select from pg_roles where rolname = 'recto_service') then
        create role recto_service nologin noinherit;
    end if;
exception
    when duplicate_object or unique_violation then null;  -- roles are the cluster's: another database was faster
end
$$;

do $$
begin
    execute format('grant recto_service to %I', current_user);
end
$$;

create function recto.acting_user() returns uuid language sql stable as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

grant usage on schema public, recto to recto_service;
grant select, insert, update on public.generations to recto_service;
grant select, insert on public.generation_error_logs to recto_service;

create policy service on public.generations to recto_service
    using ((select recto.acting_user()) is null or user_id = (select recto.acting_user()));
create policy service on public.generation_error_logs to recto_service
    using ((select recto.acting_user()) is null or user_id = (select recto.acting_user()));
