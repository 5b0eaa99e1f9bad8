-- What a user wrote of the focus of the cards is erased with the text.
create or replace function recto.without_texts(payload jsonb) returns jsonb language sql immutable
    return payload - '{source_text,topic,banlist,focus,prompt,inputs,outputs}'::text[];
