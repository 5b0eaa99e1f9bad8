-- Where each suggestion stands in the text that it was made of. A quote is a part of that text: it goes with its
-- suggestion.
alter table public.ai_suggestions
    add column quote text,
    add column start integer check (start >= 0),
    add column "end" integer check ("end" >= start),
    add column grounded boolean;
comment on column public.ai_suggestions.quote is 'a sentence of the text, or two; null if they share nothing';
comment on column public.ai_suggestions.start is 'of the quote in the trimmed text, in characters from 0';
comment on column public.ai_suggestions."end" is 'behind the quote''s last character';
comment on column public.ai_suggestions.grounded is 'whether the text supports the card; null if there is no text';
