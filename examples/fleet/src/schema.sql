-- Pictures, what became of them, and why others failed. The queue has tables of its own, in the schema `apalis`.
-- One transaction runs this in an empty database.

CREATE TABLE pictures (
    -- That of its job.
    id text PRIMARY KEY,
    name text NOT NULL,
    content bytea NOT NULL,
    uploaded timestamptz NOT NULL DEFAULT now(),
    -- `done` and `dead` are final: no statement changes them.
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'dead')),
    finished timestamptz,
    worker text,
    -- The delivery that led to the final state, as the queue counts: 1 is the first.
    attempt integer,
    width integer,
    height integer,
    thumbnail bytea,
    CHECK ((state = 'done') = (thumbnail IS NOT NULL)),
    CHECK ((state = 'waiting') = (finished IS NULL))
);

-- Pictures are compressed already.
ALTER TABLE pictures ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE INDEX pictures_uploaded ON pictures (uploaded DESC);
CREATE INDEX pictures_waiting ON pictures (id) WHERE state = 'waiting';

-- Tries that ended with an error.
CREATE TABLE failures (
    picture text NOT NULL REFERENCES pictures ON DELETE CASCADE,
    attempt integer NOT NULL,
    worker text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    -- Whose fault it is: that of the input, the machine or the program.
    blame text NOT NULL,
    report text NOT NULL,
    PRIMARY KEY (picture, attempt)
);
