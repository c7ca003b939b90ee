//! Compares the number of refreshes with that of an earlier run of `plan`, whose JSON it reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use super::replay::{Figures, Outcome, PlanFigures};

/// The figures of an earlier run that are compared.
#[derive(Debug, Deserialize)]
pub(super) struct Earlier {
    #[serde(skip)]
    file: PathBuf,
    uniform: EarlierFigures,
    tiers: EarlierFigures,
    plans: Vec<EarlierPlan>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EarlierFigures {
    refreshes_per_hour: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EarlierPlan {
    budget: f64,
    longest_interval_seconds: f64,
    #[serde(flatten)]
    figures: EarlierFigures,
}

impl Earlier {
    /// Reads the JSON of an earlier run.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let refused = |why: &str| anyhow!("{} is not what plan -o json prints{why}", file.display());
        // The text of the error may repeat what is in the file.
        let earlier: Self = serde_json::from_slice(&text)
            .map_err(|error| refused(&format!(" (line {}, column {})", error.line(), error.column())))?;
        let figures = earlier.plans.iter().map(|plan| &plan.figures).chain([&earlier.uniform, &earlier.tiers]);
        if figures.into_iter().any(|figures| !figures.are_plausible()) {
            return Err(refused(": refreshesPerHour has to be a number above 0"));
        }
        Ok(Self { file: file.to_owned(), ..earlier })
    }

    /// Adds to each policy by how many percent its refreshes have increased. Returns the largest increase of a plan.
    /// A single plan is compared with a single plan, whatever the settings.
    ///
    /// # Errors
    /// If no plan of that run has the settings of one of these; with `all`, if that is so for any of these.
    pub fn compare(&self, outcome: &mut Outcome, all: bool) -> anyhow::Result<f64> {
        self.uniform.compare(&mut outcome.uniform);
        self.tiers.compare(&mut outcome.tiers);
        let is_single = outcome.plans.len() == 1 && self.plans.len() == 1;
        let mut highest: Option<f64> = None;
        for plan in &mut outcome.plans {
            let same = |earlier: &&EarlierPlan| is_single || earlier.has_the_settings_of(plan);
            if let Some(earlier) = self.plans.iter().find(same) {
                let change = earlier.figures.compare(&mut plan.figures);
                highest = Some(highest.map_or(change, |highest| highest.max(change)));
            } else if all {
                let PlanFigures { budget, longest_interval_seconds: longest, .. } = plan;
                bail!(
                    "{} has no plan with the budget {budget} and the longest interval {longest}s",
                    self.file.display()
                );
            }
        }
        highest.with_context(|| {
            format!("{} has no plan with the budget and longest interval of one of these", self.file.display())
        })
    }
}

impl EarlierPlan {
    #[expect(clippy::float_cmp, reason = "the same text gives the same number")]
    fn has_the_settings_of(&self, plan: &PlanFigures) -> bool {
        self.budget == plan.budget && self.longest_interval_seconds == plan.longest_interval_seconds
    }
}

impl EarlierFigures {
    /// As `plan` prints them: every fleet that it plans has refreshes.
    fn are_plausible(&self) -> bool {
        (1e-3..1e12).contains(&self.refreshes_per_hour)
    }

    fn compare(&self, now: &mut Figures) -> f64 {
        let change = (now.refreshes_per_hour / self.refreshes_per_hour - 1.0) * 100.0;
        // Without the sign of zero.
        *now.change_percent.insert((change * 100.0).round() / 100.0 + 0.0)
    }
}
