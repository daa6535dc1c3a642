package price

import (
	"math"
	"strconv"
)

// Dollars is an amount of US dollars. Its text is decimal, without an exponent and
// without the noise of sums of floats.
type Dollars float64

// String returns the amount, such as 0.000036.
func (d Dollars) String() string { return strconv.FormatFloat(rounded(float64(d)), 'f', -1, 64) }

// MarshalJSON implements json.Marshaler.
func (d Dollars) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// rounded drops what cannot be a part of a price: more than 12 decimals, of which a
// float has 15 digits. The result prints as that decimal number.
func rounded(usd float64) float64 {
	const scale, most = 1e12, 1e3
	if !(math.Abs(usd) < most) {
		return math.Round(usd*1e6) / 1e6
	}
	return math.Round(usd*scale) / scale
}
