-- What is heard of a prediction may come out of order, and files may be stored for a job that then fails.

-- An earlier status does not replace a later one.
create or replace function recto.hear_of_prediction(job uuid, prediction text, told jsonb) returns boolean
    language sql security definer set search_path = '' as $$
    update public.generation_jobs set prediction_id = $2, prediction = $3, heard_at = now(),
        run_at = case when status = 'pending' and $3 ->> 'status' in ('succeeded', 'failed', 'canceled')
            then now() else run_at end,
        status = status
    where id = $1 and kind = 'image' and status in ('pending', 'running')
        and coalesce(prediction_id, $2) = $2
        and coalesce(generation_jobs.prediction ->> 'status', '') not in ('succeeded', 'failed', 'canceled')
        and not (coalesce(generation_jobs.prediction ->> 'status', '') = 'processing' and $3 ->> 'status' = 'starting')
    returning true
$$;

-- payload.outputs: the files that a worker is about to store. They stay only if the job succeeds: its render then names
-- them, and deletes them with itself.
create function recto.files_not_needed() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'DELETE' or new.status in ('succeeded', 'failed', 'canceled') then
        insert into recto.files_to_delete (key)
        select jsonb_array_elements_text(old.payload -> 'inputs')
        union
        select jsonb_array_elements_text(old.payload -> 'outputs') where tg_op = 'DELETE' or new.status <> 'succeeded'
        on conflict do nothing;
    end if;
    return null;
end
$$;
revoke execute on function recto.files_not_needed from public;
drop trigger inputs_not_needed on public.generation_jobs;
drop function recto.inputs_not_needed;
create trigger files_not_needed after update of status or delete on public.generation_jobs
    for each row when (old.payload ?| '{inputs,outputs}') execute function recto.files_not_needed();

create or replace function recto.without_texts(payload jsonb) returns jsonb language sql immutable
    return payload - '{source_text,topic,banlist,prompt,inputs,outputs}'::text[];
