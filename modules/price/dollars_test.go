package price

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestDollars(t *testing.T) {
	tenth, fifth := 0.1, 0.2 // variables, so that they are added as floats
	for usd, want := range map[float64]string{
		0:               "0",
		0.000036:        "0.000036",
		1.5e-7:          "0.00000015",
		3.75e-8:         "0.0000000375",
		tenth + fifth:   "0.3",
		1 - tenth*9:     "0.1",
		2.85 / 1e6:      "0.00000285",
		13:              "13",
		999.999999:      "999.999999",
		123456.7 + 0.01: "123456.71",
		1e9:             "1000000000",
	} {
		b, err := json.Marshal(Dollars(usd))
		if got := Dollars(usd).String(); got != want || string(b) != want || err != nil {
			t.Errorf("%g: %s, in JSON %s, want %s", usd, got, b, want)
		}
	}
}

// FuzzCost checks that a cost is the decimal number that it is by hand: prices have at
// most 6 decimals, and so the cost at most 12.
func FuzzCost(f *testing.F) {
	f.Add(int64(150_000), int64(600_000), int64(7), int64(3))
	f.Add(int64(100_000), int64(200_000), int64(1), int64(1))
	f.Fuzz(func(t *testing.T, in, out, input, output int64) {
		const maxPrice, maxTokens = 1 << 30, 1 << 20 // a thousand dollars, in millionths
		in, out, input, output = in&(maxPrice-1), out&(maxPrice-1), input&(maxTokens-1), output&(maxTokens-1)
		exact := in*input + out*output // in millionths of a millionth of a dollar
		if exact >= 1e15 {
			return
		}
		p := Price{Input: float64(in) / 1e6, Output: float64(out) / 1e6}
		cost := p.Cost(provider.Usage{Input: input, Output: output})
		if cost != float64(exact)/1e12 {
			t.Errorf("%d at %v and %d at %v: %v, want %v", input, p.Input, output, p.Output, cost, float64(exact)/1e12)
		}
		text := Dollars(cost).String()
		if _, decimals, _ := strings.Cut(text, "."); len(decimals) > 12 || !regexp.MustCompile(`^\d+(\.\d+)?$`).MatchString(text) {
			t.Errorf("%v is written %s", cost, text)
		}
	})
}
