-- What the processes of one instance share: secrets that each must know, and which of them are there.

CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL -- hexadecimal
);

CREATE TABLE members (
    group_name TEXT   NOT NULL,
    member     TEXT   NOT NULL,
    until_us   BIGINT NOT NULL,
    PRIMARY KEY (group_name, member)
);
