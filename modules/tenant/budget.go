package tenant

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The units and periods of a budget.
const (
	UnitTokens = "tokens"
	UnitUSD    = "usd"

	PeriodDay   = "day"
	PeriodMonth = "month"
)

// Budget is how much a tenant may use in one UTC day or month.
type Budget struct {
	// Amount is a number of tokens, or of millionths of a US dollar.
	Amount int64

	Unit   string // UnitTokens or UnitUSD
	Period string // PeriodDay or PeriodMonth
}

// ParseBudgets parses budgets as an operator writes them: one or more pairs of
// an amount and what it counts, such as "50000 tokens/day 25 usd/month".
func ParseBudgets(s string) ([]Budget, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 || len(fields)%2 != 0 {
		return nil, fmt.Errorf("budget %q: want an amount and tokens/day, tokens/month, usd/day or usd/month", s)
	}
	var list []Budget
	for i := 0; i < len(fields); i += 2 {
		b, err := parseBudget(fields[i], fields[i+1])
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

func parseBudget(amount, per string) (Budget, error) {
	unit, period, _ := strings.Cut(per, "/")
	if (unit != UnitTokens && unit != UnitUSD) || (period != PeriodDay && period != PeriodMonth) {
		return Budget{}, fmt.Errorf("budget %q: want tokens/day, tokens/month, usd/day or usd/month", per)
	}
	b := Budget{Unit: unit, Period: period}
	if unit == UnitUSD {
		f, err := strconv.ParseFloat(amount, 64)
		if err != nil || math.IsNaN(f) || f <= 0 || f > 1e9 {
			return Budget{}, fmt.Errorf("budget %q: want US dollars such as 25 or 0.5", amount)
		}
		b.Amount = int64(math.Round(f * 1e6))
		if b.Amount < 1 {
			// zero would be no limit
			return Budget{}, fmt.Errorf("budget %q: want at least 0.000001 US dollars", amount)
		}
		return b, nil
	}
	n, err := strconv.ParseInt(amount, 10, 64)
	if err != nil || n < 1 {
		return Budget{}, fmt.Errorf("budget %q: want a whole number of tokens", amount)
	}
	b.Amount = n
	return b, nil
}
