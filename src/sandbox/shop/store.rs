//! The shop's database: the schema check of a release, and its queries. Nothing here knows HTTP.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{
    ShopError,
    release::{Release, TABLES},
};

/// How long a request waits for a connection before it answers 500.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How often an order is tried again under another id when a neighbour took the same one.
const ID_ATTEMPTS: usize = 20;

/// An order as the shop's clients see it, whatever the release calls its columns.
#[derive(Debug, Serialize)]
pub(super) struct Order {
    pub id: i64,
    pub item: String,
    pub quantity: i64,
    pub customer: Option<String>,
    pub paid: i64,
}

/// What a client posts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    #[serde(alias = "product")]
    pub item: String,
    pub quantity: i32,
    pub customer: Option<String>,
    /// Paid at once, in cents; a release without payments ignores it.
    pub paid: Option<i32>,
}

/// The database behind the shop, by engine.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Store {
    /// Connects by URL when the first request needs it, so that a shop starts whatever state its database is in.
    ///
    /// # Errors
    /// A URL that is neither `sqlite://` nor `postgres://`, or that does not parse.
    pub fn open(url: &str) -> Result<Self, ShopError> {
        let refused = |error: sqlx::Error| ShopError::Url(without_url(&error, url));
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url).map_err(refused)?;
            let options = options.create_if_missing(false).busy_timeout(ACQUIRE);
            let pool = SqlitePoolOptions::new()
                .max_connections(2)
                .acquire_timeout(ACQUIRE)
                .idle_timeout(ACQUIRE);
            Ok(Self::Sqlite(pool.connect_lazy_with(options)))
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let options = PgConnectOptions::from_str(url)
                .map_err(refused)?
                .application_name("shop");
            let pool = PgPoolOptions::new()
                .max_connections(2)
                .acquire_timeout(ACQUIRE)
                .idle_timeout(ACQUIRE);
            Ok(Self::Postgres(pool.connect_lazy_with(options)))
        } else {
            Err(ShopError::Url(
                "it begins with neither sqlite:// nor postgres://".into(),
            ))
        }
    }

    /// `Ok` when the schema is exactly the one that `release` was written for; else what is different, as a sentence.
    pub async fn check(&self, release: Release) -> Result<(), String> {
        for table in TABLES {
            let mut found = self.columns(table).await.map_err(|error| error.to_string())?;
            found.sort_unstable();
            let expected = release.columns(table);
            if found != expected {
                return Err(describe(release, table, expected, &found));
            }
        }
        Ok(())
    }

    async fn columns(&self, table: &str) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => {
                sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
                    .bind(table)
                    .fetch_all(pool)
                    .await
            }
            Self::Postgres(pool) => {
                let sql = "SELECT column_name::text FROM information_schema.columns \
                           WHERE table_schema = current_schema() AND table_name = $1";
                sqlx::query_scalar(sql).bind(table).fetch_all(pool).await
            }
        }
    }

    /// Every order, oldest first.
    pub async fn orders(&self, release: Release) -> Result<Vec<Order>, sqlx::Error> {
        type Row = (i64, String, i64, Option<String>, i64);
        let rows: Vec<Row> = match self {
            Self::Sqlite(pool) => sqlx::query_as(release.list()).fetch_all(pool).await?,
            Self::Postgres(pool) => sqlx::query_as(release.list()).fetch_all(pool).await?,
        };
        let order = |(id, item, quantity, customer, paid)| Order {
            id,
            item,
            quantity,
            customer,
            paid,
        };
        Ok(rows.into_iter().map(order).collect())
    }

    /// Adds an order (and its payment) in one transaction and returns its id.
    pub async fn place(&self, release: Release, order: &NewOrder) -> Result<i64, sqlx::Error> {
        // Two shops may compute the same next id; the loser of that race computes another.
        for _ in 1..ID_ATTEMPTS {
            match self.insert(release, order).await {
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
                settled => return settled,
            }
        }
        self.insert(release, order).await
    }

    async fn insert(&self, release: Release, order: &NewOrder) -> Result<i64, sqlx::Error> {
        // The two arms are the same text over two types; a macro keeps them from drifting apart.
        macro_rules! insert {
            ($begin:expr) => {{
                let mut transaction = $begin.await?;
                let mut query = sqlx::query_scalar(release.insert())
                    .bind(&order.item)
                    .bind(order.quantity);
                if release.columns("orders").contains(&"customer") {
                    query = query.bind(&order.customer);
                }
                let id: i64 = query.fetch_one(&mut *transaction).await?;
                if let (Some(pay), Some(amount)) = (release.pay(), order.paid) {
                    sqlx::query(pay)
                        .bind(id)
                        .bind(amount)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(id)
            }};
        }
        match self {
            // Taking the write lock at once turns a lock upgrade that must fail into a wait.
            Self::Sqlite(pool) => insert!(pool.begin_with("BEGIN IMMEDIATE")),
            Self::Postgres(pool) => insert!(pool.begin()),
        }
    }

    /// Gives the connections back, so that the server sees the sessions gone.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// An error's text without the URL it may quote: a URL holds a password.
fn without_url(error: &sqlx::Error, url: &str) -> String {
    error.to_string().replace(url, "the URL")
}

fn describe(release: Release, table: &str, expected: &[&str], found: &[String]) -> String {
    let version = release.version();
    if found.is_empty() {
        return format!("release {version} needs a table {table} and there is none");
    }
    if expected.is_empty() {
        return format!("release {version} does not know the table {table}");
    }
    let found = found.join(", ");
    let expected = expected.join(", ");
    format!("release {version} expects the columns {expected} in {table} and found {found}")
}
