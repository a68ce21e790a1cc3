//! What tenants and agents use of their quotas, for a scrape. There is a line for what a quota limits and for what was
//! refused, so a host without quotas has hardly any.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use aop_core::TenantName;
use aop_core::quota::{Account, Figure, Owner};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The quotas at the moment of a scrape.
#[derive(Default)]
pub(super) struct Quotas {
    rows: Vec<Row>,
    /// By tenant, in seconds.
    lane_waits: Vec<(String, f64)>,
}

struct Row {
    /// Both empty for the node.
    tenant: String,
    agent: String,
    figure: Figure,
}

impl Quotas {
    pub(super) fn of(accounts: Vec<(Option<TenantName>, Arc<Account>)>) -> Self {
        let now = Instant::now();
        let mut quotas = Self::default();
        for (tenant, account) in accounts {
            let tenant = tenant.map_or_else(String::new, |tenant| tenant.to_string());
            let agent = match account.owner() {
                Owner::Agent(name) => name.to_string(),
                Owner::Tenant(_) => {
                    quotas.lane_waits.push((tenant.clone(), account.turn_wait().as_secs_f64()));
                    String::new()
                }
                Owner::Node => String::new(),
            };
            // Every agent has a concurrency and a queue, which `in_flight_ratio` has already or are mostly empty.
            let is_told = |figure: &Figure| {
                figure.refused > 0
                    || figure.limit.is_some() && (agent.is_empty() || figure.used != Some(0))
            };
            let figures = account.figures(now).into_iter().filter(is_told);
            let row = |figure| Row { tenant: tenant.clone(), agent: agent.clone(), figure };
            quotas.rows.extend(figures.map(row));
        }
        quotas
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What is used now of a quota, divided by what may be.";
        let mut family =
            encoder.encode_descriptor("quota_used_ratio", help, None, MetricType::Gauge)?;
        for row in &self.rows {
            if let (Some(limit), Some(used)) = (row.figure.limit, row.figure.used) {
                #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more precision")]
                let ratio = used as f64 / limit.max(1) as f64;
                ConstGauge::new(ratio).encode(family.encode_family(&row.labels())?)?;
            }
        }
        let help = "What a quota refused.";
        let mut family =
            encoder.encode_descriptor("quota_refusals", help, None, MetricType::Counter)?;
        for row in self.rows.iter().filter(|row| row.figure.refused > 0) {
            let refused = ConstCounter::new(row.figure.refused);
            refused.encode(family.encode_family(&row.labels())?)?;
        }
        let help = "How long guests waited for their turns to compute.";
        let mut family =
            encoder.encode_descriptor("lane_wait_seconds", help, None, MetricType::Counter)?;
        for (tenant, seconds) in &self.lane_waits {
            let labels = [("tenant", tenant.as_str())];
            ConstCounter::new(*seconds).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Row {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [("tenant", &self.tenant), ("agent", &self.agent), ("quota", self.figure.quota)]
    }
}
