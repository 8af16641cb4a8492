//! What a fingerprint covers (LAWS D12).

use crate::contract_database::{Place as _, PostgresPlace};
use crate::support::binary::Binary;
use crate::support::runner::{Ctx, Outcome};

pub async fn fingerprint(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let database = place.open();
    place
        .run(
            "CREATE TABLE parent (id bigserial PRIMARY KEY, at date, note text); CREATE TYPE mood AS ENUM ('a', 'b'); \
             CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql AS 'SELECT i'; CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE VIEW v AS SELECT id FROM parent; CREATE MATERIALIZED VIEW m AS SELECT id FROM parent; \
             CREATE TRIGGER g BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION t(); CREATE INDEX n ON parent (note); \
             CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text); CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0'); \
             CREATE TABLE cut (id int, at date) PARTITION BY RANGE (at); CREATE TABLE cut_1 PARTITION OF cut FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); \
             CREATE INDEX cut_at ON cut (at); CREATE POLICY p ON parent USING (id > 0); CREATE STATISTICS s ON at, note FROM parent; \
             CREATE RULE r AS ON DELETE TO v DO INSTEAD NOTHING; CREATE TYPE span AS RANGE (subtype = float8)",
        )
        .await?;
    let first = database.fingerprint().await?;
    let names: Vec<&str> = first.objects.keys().map(String::as_str).collect();
    for name in [
        "aggregate public.total(integer)",
        "constraint parent_pkey on public.parent",
        "function public.f(i integer)",
        "index public.cut_at",
        "index public.parent_pkey",
        "materialized view public.m",
        "policy p on public.parent",
        "rule r on public.v",
        "schema public",
        "sequence public.parent_id_seq",
        "statistics public.s",
        "table public.cut",
        "table public.cut_1",
        "table public.parent",
        "trigger g on public.parent",
        "type public.mood",
        "type public.pair",
        "type public.positive",
        "type public.span",
        "view public.v",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:#?}");
    }
    assert!(
        !names.iter().any(|name| name.contains("cut_1_at")),
        "a partition's index comes from its parent: {names:#?}"
    );
    // What is done, what the difference names, and how it is undone.
    let changes = [
        (
            "ALTER TABLE parent ALTER note SET NOT NULL",
            "table public.parent",
            "ALTER TABLE parent ALTER note DROP NOT NULL",
        ),
        (
            "ALTER TABLE parent ALTER note SET DEFAULT 'x'",
            "table public.parent",
            "ALTER TABLE parent ALTER note DROP DEFAULT",
        ),
        (
            "ALTER TABLE parent ENABLE ROW LEVEL SECURITY",
            "table public.parent",
            "ALTER TABLE parent DISABLE ROW LEVEL SECURITY",
        ),
        (
            "ALTER TABLE parent REPLICA IDENTITY FULL",
            "table public.parent",
            "ALTER TABLE parent REPLICA IDENTITY DEFAULT",
        ),
        (
            "GRANT SELECT ON parent TO pg_monitor",
            "table public.parent",
            "REVOKE SELECT ON parent FROM pg_monitor",
        ),
        (
            "GRANT SELECT (note) ON parent TO pg_monitor",
            "table public.parent",
            "REVOKE SELECT (note) ON parent FROM pg_monitor",
        ),
        (
            "ALTER FUNCTION f OWNER TO pg_monitor",
            "function public.f(i integer)",
            "ALTER FUNCTION f OWNER TO postgres",
        ),
        (
            "ALTER TABLE parent ADD c int",
            "table public.parent",
            "ALTER TABLE parent DROP c",
        ),
        (
            "ALTER TABLE parent ADD CHECK (id > 0) NOT VALID",
            "constraint parent_id_check on public.parent",
            "ALTER TABLE parent DROP CONSTRAINT parent_id_check",
        ),
        (
            "ALTER TYPE pair ADD ATTRIBUTE c int",
            "type public.pair",
            "ALTER TYPE pair DROP ATTRIBUTE c",
        ),
        (
            "ALTER DOMAIN positive SET NOT NULL",
            "type public.positive",
            "ALTER DOMAIN positive DROP NOT NULL",
        ),
        (
            "ALTER FUNCTION f STABLE",
            "function public.f(i integer)",
            "ALTER FUNCTION f VOLATILE",
        ),
        (
            "ALTER TABLE parent DISABLE TRIGGER g",
            "trigger g on public.parent",
            "ALTER TABLE parent ENABLE TRIGGER g",
        ),
        (
            "ALTER SEQUENCE parent_id_seq INCREMENT 5",
            "sequence public.parent_id_seq",
            "ALTER SEQUENCE parent_id_seq INCREMENT 1",
        ),
        (
            "ALTER POLICY p ON parent USING (id > 1)",
            "policy p on public.parent",
            "ALTER POLICY p ON parent USING (id > 0)",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'n'::regclass",
            "index public.n",
            "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'n'::regclass",
        ),
        ("CREATE SCHEMA more", "schema more", "DROP SCHEMA more"),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor",
            "default grants of postgres on r",
            "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM pg_monitor",
        ),
        ("INSERT INTO parent (note) VALUES ('data')", "", "DELETE FROM parent"),
        (
            "COMMENT ON TABLE parent IS 'said'",
            "",
            "COMMENT ON TABLE parent IS NULL",
        ),
        ("ALTER TYPE mood ADD VALUE 'c'", "type public.mood", ""),
    ];
    for (done, object, undone) in changes {
        place.run(done).await?;
        let changed: Vec<_> = first
            .differences(&database.fingerprint().await?)
            .into_iter()
            .map(|d| d.object)
            .collect();
        let expected: &[&str] = if object.is_empty() { &[] } else { &[object] };
        assert_eq!(changed, expected, "{done}");
        if !undone.is_empty() {
            place.run(undone).await?;
            assert_eq!(first.differences(&database.fingerprint().await?), [], "{undone}");
        }
    }
    Ok(())
}

/// Our tables may live in a schema of the app's: only they are left out, and what they bring.
pub async fn shared_schema(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    place.run("CREATE TABLE orders (id int)").await?;
    let public = place.open_in("public");
    let before = public.fingerprint().await?;
    public.prepare().await?;
    assert_eq!(before.differences(&public.fingerprint().await?), [], "our own tables");
    place
        .run("ALTER TABLE orders ADD wrong int; CREATE TABLE leftover (id int PRIMARY KEY)")
        .await?;
    let objects = |differences: Vec<stepback_core::model::Difference>| -> Vec<String> {
        differences.into_iter().map(|one| one.object).collect()
    };
    let changed = objects(before.differences(&public.fingerprint().await?));
    for object in [
        "table public.orders",
        "table public.leftover",
        "index public.leftover_pkey",
        "constraint leftover_pkey on public.leftover",
    ] {
        assert!(
            changed.iter().any(|one| one == object),
            "{object} is not in {changed:?}"
        );
    }
    Ok(())
}

/// A schema of our own is none of the app's until something of the app is in it.
pub async fn own_schema(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let apart = place.open_in("apart");
    let without = apart.fingerprint().await?;
    apart.prepare().await?;
    let made = without.differences(&apart.fingerprint().await?);
    assert_eq!(made, [], "a schema of our own");
    place.run("CREATE TABLE apart.theirs (id int)").await?;
    let changed = without.differences(&apart.fingerprint().await?);
    let changed: Vec<_> = changed.into_iter().map(|one| one.object).collect();
    assert_eq!(changed, ["schema apart", "table apart.theirs"]);
    Ok(())
}

/// The comparison after the downs is made there too.
pub async fn compared_in_a_shared_schema(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let folder = ctx.dir().join("migrations");
    std::fs::create_dir(&folder)?;
    for (name, text) in [
        ("1_a.up.sql", "CREATE TABLE orders (id integer);"),
        ("1_a.down.sql", "DROP TABLE orders;"),
        ("2_b.up.sql", "CREATE TABLE more (id integer);"),
        ("2_b.down.sql", "DROP TABLE more; CREATE TABLE leftover (id integer);"),
    ] {
        std::fs::write(folder.join(name), text)?;
    }
    let binary = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &place.url);
    let also = "--state-schema public --yes";
    binary.ends(0, &format!("migrate up --to 1 {also}"))?;
    binary.ends(0, &format!("migrate up {also}"))?;
    let ran = binary.ends(4, &format!("migrate down --data-loss accept {also}"))?;
    assert!(ran.err.contains("+ table public.leftover"), "{ran:?}");
    Ok(())
}
