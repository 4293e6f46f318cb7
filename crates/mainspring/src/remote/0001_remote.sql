CREATE TABLE remote_facts (
    name TEXT NOT NULL PRIMARY KEY,
    fact BLOB NOT NULL
);
