//! Examples of what the seams say.

use super::*;

pub(super) fn cluster_errors() -> Vec<ClusterError> {
    let object = || "StatefulSet shop/web".to_owned();
    every!(ClusterError {
        Unreachable = ClusterError::Unreachable(text()),
        NoConfig = ClusterError::NoConfig {
            message: text(),
            hint: text()
        },
        NotListening = ClusterError::NotListening {
            object: object(),
            port: 80
        },
        Conflict = ClusterError::Conflict { object: object() },
        Fenced = ClusterError::Fenced {
            object: object(),
            token: Token { number: 1, nonce: 2 }
        },
        Held = ClusterError::Held {
            name: "shop/stepback-shop".to_owned(),
            holder: "anna".to_owned()
        },
        Gone = ClusterError::Gone {
            object: object(),
            message: text()
        },
        Changed = ClusterError::Changed {
            object: object(),
            message: text()
        },
        Forbidden = ClusterError::Forbidden(text()),
        Refused = ClusterError::Refused(text()),
    })
}

pub(super) fn journal_errors() -> Vec<JournalError> {
    every!(JournalError {
        Fenced = JournalError::Fenced(run()),
        Grown = JournalError::Grown(run()),
        Unknown = JournalError::Unknown(text()),
        Unreachable = JournalError::Unreachable(text()),
        NotFound = JournalError::NotFound(run()),
        Damaged = JournalError::Damaged {
            run: run(),
            message: text()
        },
        Newer = JournalError::Newer { run: run() },
        TooLarge = JournalError::TooLarge { bytes: 2, limit: 1 },
        Occupied = JournalError::Occupied {
            place: "run.jsonl".to_owned(),
            run: run()
        },
        Forbidden = JournalError::Forbidden(text()),
        Refused = JournalError::Refused(text()),
    })
}

pub(super) fn database_errors() -> Vec<DbError> {
    let message = text;
    every!(DbError {
        Unreachable = DbError::Unreachable {
            database: text(),
            message: message()
        },
        NoEntry = DbError::NoEntry {
            database: text(),
            message: message(),
            hint: text()
        },
        Url = DbError::Url {
            message: message(),
            hint: text()
        },
        Held = DbError::Held(Box::new(LeaseSeen {
            holder: "anna".to_owned(),
            token: Token { number: 1, nonce: 2 },
            age_ms: 1,
            ahead_ms: 0,
            life_ms: 15_000,
            released: false,
        })),
        ToolLock = DbError::ToolLock {
            tool: "sqlx",
            holder: text()
        },
        Fenced = DbError::Fenced,
        RunOpen = DbError::RunOpen(Box::new(row())),
        LedgerUnclear = DbError::LedgerUnclear {
            message: message(),
            hint: text()
        },
        Script = DbError::Script {
            migration: migration(),
            message: message(),
            retry: false
        },
        Check = DbError::Check {
            migration: migration(),
            message: message(),
            hint: None
        },
        Limit = DbError::Limit {
            migration: migration(),
            message: message()
        },
        Archive = DbError::Archive { message: message() },
        Refused = DbError::Refused {
            message: message(),
            hint: None
        },
        Forbidden = DbError::Forbidden {
            message: message(),
            hint: text()
        },
        Busy = DbError::Busy { message: message() },
        Own = DbError::Own { message: message() },
        Driver = DbError::Driver {
            doing: "reading the ledger",
            message: message()
        },
    })
}
