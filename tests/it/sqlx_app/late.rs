//! A capture that had to wait for sqlx pairs what is there by then (LAWS D1, D3).

use std::fs;

use sqlx::migrate::{Migrate as _, Migrator};

use super::place::{App, Connection, Engine};
use super::{CUSTOMER, PAYMENTS};
use crate::support::runner::{Ctx, Outcome, fail};

pub async fn captured_late(ctx: Ctx) -> Outcome {
    let app = App::new(&ctx, Engine::Postgres).await?;
    app.migrate(&app.folder("1.2.0")).await??;
    app.binary().ends(0, "migrate capture --dir 1.2.0")?;
    let file = format!(
        "apiVersion: stepback.dev/v1\nkind: App\nmetadata: {{ name: shop }}\nspec:\n  database:\n    \
         url: {{ env: DATABASE_URL }}\n    migrations: 1.3.0\n  releases:\n    \
         - {{ version: 1.3.0, schema: \"{PAYMENTS}\" }}\n    - {{ version: 1.2.0, schema: \"{CUSTOMER}\" }}\n"
    );
    fs::write(ctx.dir().join("stepback.yaml"), file)?;

    // sqlx is at work, and done before the capture has its lock.
    let Connection::Postgres(mut holder) = app.connect().await? else {
        return fail("this is PostgreSQL");
    };
    holder.lock().await?;
    let stepback = app.binary();
    let capturing = tokio::task::spawn_blocking(move || stepback.ends(0, "migrate capture"));
    while app
        .rows("SELECT ledger FROM stepback.lease WHERE NOT released")
        .await?
        .is_empty()
    {}
    let mut migrator = Migrator::new(app.folder("1.3.0")).await?;
    migrator.set_locking(false);
    migrator.run_direct(None, &mut holder, false).await?;
    holder.unlock().await?;
    capturing.await??;
    let paired = app.rows("SELECT release || ' ' || json_array_length(migrations::json) FROM stepback.release");
    assert_eq!(paired.await?, ["1.3.0 4"]);
    Ok(())
}
