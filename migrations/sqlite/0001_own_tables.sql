-- stepback's own tables. Changed additively within a major version, because an older program may meet them.
CREATE TABLE IF NOT EXISTS stepback_identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,                       -- random, made with the table: tells this database from a copy of another
    made_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS stepback_ledger (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    version TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    up_sha256 TEXT NOT NULL,
    applied_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS stepback_archive (
    ledger TEXT NOT NULL,                   -- the full name of the ledger that the row belongs to
    version TEXT NOT NULL,
    revision INTEGER NOT NULL,              -- rises when a row is replaced; older revisions stay
    name TEXT NOT NULL,
    capture TEXT NOT NULL CHECK (capture IN ('staged', 'captured')),
    up_sha256 TEXT NOT NULL,
    down_sha256 TEXT,
    down_empty INTEGER NOT NULL,
    layout TEXT NOT NULL,
    ledger_sequence INTEGER,
    binding_sha256 TEXT NOT NULL,           -- over engine, ledger, version, both checksums, the ledger's row
    captured_by TEXT NOT NULL,
    captured_at TEXT NOT NULL,
    PRIMARY KEY (ledger, version, revision)
);
CREATE TABLE IF NOT EXISTS stepback_replacement (
    ledger TEXT NOT NULL,
    version TEXT NOT NULL,
    revision INTEGER NOT NULL,              -- the archive row that was appended by hand
    reason TEXT NOT NULL,
    replaced_by TEXT NOT NULL,
    replaced_at TEXT NOT NULL,
    PRIMARY KEY (ledger, version, revision)
);
CREATE TABLE IF NOT EXISTS stepback_script (
    sha256 TEXT NOT NULL,
    chunk INTEGER NOT NULL,                 -- from 0; zlib over the whole body, cut into chunks of at most 1 MiB
    chunks INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (sha256, chunk)
);
CREATE TABLE IF NOT EXISTS stepback_fingerprint (
    ledger TEXT NOT NULL,
    schema_sha256 TEXT NOT NULL,            -- of the set of applied migrations
    sha256 TEXT NOT NULL,
    body BLOB NOT NULL,                     -- zlib over JSON
    taken_at TEXT NOT NULL,
    PRIMARY KEY (ledger, schema_sha256)
);
CREATE TABLE IF NOT EXISTS stepback_release (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    ledger TEXT NOT NULL,
    release TEXT NOT NULL,
    migrations TEXT NOT NULL,               -- JSON list of versions
    recorded_at TEXT NOT NULL,
    run TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS stepback_lease (
    ledger TEXT PRIMARY KEY,                -- the ledger that the lease is for
    token INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    holder TEXT NOT NULL,
    session TEXT NOT NULL,                  -- the server session that works under it
    heartbeat_ms INTEGER NOT NULL,          -- Unix milliseconds
    life_ms INTEGER NOT NULL,
    released INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stepback_run (
    run TEXT PRIMARY KEY,
    ledger TEXT NOT NULL,
    plan TEXT NOT NULL,
    app TEXT,
    journal TEXT NOT NULL,                  -- JSON: where it is kept
    status TEXT NOT NULL CHECK (status IN ('opening', 'open', 'halted', 'closed')),
    title TEXT NOT NULL,
    closes_itself INTEGER NOT NULL,
    token TEXT NOT NULL,
    changed_at TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS stepback_run_open ON stepback_run (ledger) WHERE status <> 'closed';  -- one run is open on a ledger
CREATE TABLE IF NOT EXISTS stepback_binding (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    ledger TEXT NOT NULL,
    app TEXT NOT NULL,                      -- the app's name, or empty
    run TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,                     -- JSON: the cluster and the workloads that the run acts on
    bound_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS stepback_plan (
    run TEXT PRIMARY KEY,
    body BLOB NOT NULL                      -- zlib over JSON
);
CREATE TABLE IF NOT EXISTS stepback_journal (
    run TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (run, sequence)
);
