//! L4. What an epoch of a training did: its losses, and how good the network is behind it.

/// How good a network is on patches.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Cross-entropy over labelled pixels.
    pub loss: f64,
    /// Part of them that is right.
    pub accuracy: f64,
    /// Intersection over union of each class; none where neither label nor prediction has it.
    pub iou: Vec<Option<f64>>,
}

impl Score {
    /// Mean of the classes that are known, the first left out where there are more than one.
    pub fn mean_iou(&self) -> Option<f64> {
        let known: Vec<f64> = self.iou.iter().skip(usize::from(self.iou.len() > 1)).flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().fold(0.0, |sum, v| sum + v) / known.len() as f64)
    }
}

/// What an epoch did.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// Steps done at its end.
    pub steps: u32,
    /// Its learning rate.
    pub rate: f64,
    /// Training loss.
    pub loss: f64,
    /// Part of the labelled pixels that was right in training.
    pub accuracy: f64,
    /// Validation, where there is any.
    pub validation: Option<Score>,
}

impl Epoch {
    /// The loss that the schedule watches.
    pub fn watched(&self) -> f64 {
        self.validation.as_ref().map_or(self.loss, |v| v.loss)
    }
    /// Part of the labelled pixels that is wrong, of the same pixels as [`Epoch::watched`].
    pub fn errors(&self) -> f64 {
        1.0 - self.validation.as_ref().map_or(self.accuracy, |v| v.accuracy)
    }
    /// Names of the columns of [`Epoch::line`].
    pub fn header(classes: usize) -> String {
        let iou: String = (0..classes).map(|k| format!(",validation_iou_{k}")).collect();
        format!("epoch,steps,rate,loss,accuracy,validation_loss,validation_accuracy{iou}")
    }
    /// Epoch `number` as comma-separated values that [`Epoch::parse`] reads back to the bit; what is unknown is empty.
    pub fn line(&self, number: usize) -> String {
        let mut cells = vec![number.to_string(), self.steps.to_string()];
        cells.extend([self.rate, self.loss, self.accuracy].map(|v| v.to_string()));
        if let Some(v) = &self.validation {
            cells.extend([v.loss, v.accuracy].map(|v| v.to_string()));
            cells.extend(v.iou.iter().map(|v| v.map_or(String::new(), |v| v.to_string())));
        }
        cells.join(",")
    }
    /// Reads [`Epoch::line`].
    pub(super) fn parse(line: &str) -> Option<Epoch> {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells.get(i)?.parse::<f64>().ok();
        let iou = cells.iter().skip(7).map(|c| c.parse().ok()).collect();
        let validation =
            if cells.len() > 5 { Some(Score { loss: number(5)?, accuracy: number(6)?, iou }) } else { None };
        let steps = cells.get(1)?.parse().ok()?;
        Some(Epoch { steps, rate: number(2)?, loss: number(3)?, accuracy: number(4)?, validation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_comes_back_from_its_line() {
        let validation = Score { loss: 0.1 + 0.2, accuracy: 1.0 / 3.0, iou: vec![Some(0.7), None, Some(1.0 / 7.0)] };
        for validation in [Some(validation), None] {
            let epoch = Epoch { steps: 12, rate: 3e-4, loss: 1e-300, accuracy: 0.25, validation };
            assert_eq!(Epoch::parse(&epoch.line(4)).unwrap(), epoch);
            // What validates counts, where something does.
            let wrong = if epoch.validation.is_some() { 2.0 / 3.0 } else { 0.75 };
            assert!((epoch.errors() - wrong).abs() < 1e-15);
        }
        assert_eq!(Epoch::header(2).split(',').count(), 9);
    }
}
