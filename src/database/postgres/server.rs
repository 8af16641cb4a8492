//! What of the server a person should know of: what it may forget, and whom it sends new tables to (LAWS D13, D16).
//!
//! Only the texts of the questions and what their answers mean: `look` asks them in its own message. All of it is the
//! catalog's, and for every role to read unless somebody took that away.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use stepback_core::model::{LogicalSlot, Replication, SeenServer};

/// Whether the catalog of publications of whole schemas is there (PostgreSQL 15), and what of the others this role must
/// not read. Asked beforehand: what is not there or must not be read would fail the whole message.
pub(super) const MAY_READ: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'pg_catalog' AND c.relname = 'pg_publication_namespace' \
        AND has_table_privilege(c.oid, 'SELECT')) AS of_schemas, \
    current_user::text AS role, has_table_privilege('pg_catalog.pg_publication', 'SELECT') AS publications, \
    has_table_privilege('pg_catalog.pg_replication_slots', 'SELECT') \
        AND has_function_privilege('pg_catalog.pg_get_replication_slots()', 'EXECUTE') AS slots";

/// Settings that are not as they must be; and the columns of the whole answer.
const WEAK: &str = "SELECT name || ' = off' AS setting, NULL::text AS publication, NULL::text AS slot, NULL::text AS plugin \
    FROM (VALUES ('fsync'), ('full_page_writes')) AS settings (name) WHERE pg_catalog.current_setting(name) = 'off'";

const PUBLICATIONS: &str = "SELECT NULL, pubname::text, NULL, NULL FROM pg_catalog.pg_publication WHERE puballtables";

const OF_SCHEMA: &str = "SELECT NULL, p.pubname::text, NULL, NULL FROM pg_catalog.pg_publication p \
    JOIN pg_catalog.pg_publication_namespace o ON o.pnpubid = p.oid \
    JOIN pg_catalog.pg_namespace n ON n.oid = o.pnnspid WHERE n.nspname = $1 AND NOT p.puballtables";

/// One that is temporary is gone before our tables are of any age: a subscriber copies a table through it.
const SLOTS: &str = "SELECT NULL, NULL, slot_name::text, plugin::text FROM pg_catalog.pg_replication_slots \
    WHERE slot_type = 'logical' AND NOT temporary AND database = pg_catalog.current_database()";

/// What may be asked.
pub(super) struct MayRead {
    of_schemas: bool,
    /// Why whom the server replicates to is not known.
    forbidden: Option<String>,
}

impl MayRead {
    /// Reads the answer to [`MAY_READ`].
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let parts = [("publications", "pg_publication"), ("slots", "pg_replication_slots")];
        let mut hidden = Vec::new();
        for (column, name) in parts {
            if !row.try_get::<bool, _>(column)? {
                hidden.push(name);
            }
        }
        let role: &str = row.try_get("role")?;
        Ok(Self {
            of_schemas: row.try_get("of_schemas")?,
            forbidden: (!hidden.is_empty()).then(|| format!("role {role} may not read {}", hidden.join(", "))),
        })
    }

    /// Queries whose rows together are the answer. `$1` in them is the state schema.
    pub(super) fn questions(&self) -> Vec<&'static str> {
        let mut questions = vec![WEAK];
        if self.forbidden.is_none() {
            questions.extend([PUBLICATIONS, SLOTS]);
            questions.extend(self.of_schemas.then_some(OF_SCHEMA));
        }
        questions
    }

    /// Reads the answer.
    pub(super) fn answer(&self, rows: &[PgRow]) -> Result<SeenServer, sqlx::Error> {
        let (mut weak, mut publications, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            if let Some(setting) = row.try_get("setting")? {
                weak.push(setting);
            }
            if let Some(publication) = row.try_get("publication")? {
                publications.push(publication);
            }
            if let Some(name) = row.try_get("slot")? {
                let plugin = row.try_get::<Option<String>, _>("plugin")?.unwrap_or_default();
                slots.push(LogicalSlot { name, plugin });
            }
        }
        publications.sort();
        slots.sort_by(|one: &LogicalSlot, other| one.name.cmp(&other.name));
        let replication = match &self.forbidden {
            Some(why) => Replication::Unknown(why.clone()),
            None => Replication::To { publications, slots },
        };
        Ok(SeenServer { weak, replication })
    }
}
