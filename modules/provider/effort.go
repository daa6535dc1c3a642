package provider

// Below these budgets of thinking, in tokens, an effort is low or medium.
const (
	mediumBudget = 4096
	highBudget   = 16_384
)

// EffortOf returns the effort that a budget of thinking, in tokens, stands for.
func EffortOf(budget float64) string {
	switch {
	case budget < mediumBudget:
		return "low"
	case budget < highBudget:
		return "medium"
	}
	return "high"
}
