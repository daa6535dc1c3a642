package jwt

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Claims are what a token says, as decoded JSON.
type Claims map[string]any

// parseClaims refuses duplicate names: two parsers would read two tokens.
func parseClaims(payload []byte) (Claims, error) {
	var c Claims
	if err := json.Unmarshal(payload, &c); err != nil || c == nil {
		return nil, claimErrorf("The token's claims must be one JSON object without duplicate names")
	}
	return c, nil
}

// String returns a claim that must be a string, and whether the token has it.
// The name may be a path with dots into nested objects. A member whose own name
// has dots, such as https://example.com/tenant, wins over a path.
func (c Claims) String(name string) (value string, ok bool, err error) {
	claim, ok := c.find(name)
	if !ok {
		return "", false, nil
	}
	value, ok = claim.(string)
	if !ok || value == "" {
		return "", true, claimErrorf("The token's claim %s must be a string that is not empty", name)
	}
	return value, true, nil
}

func (c Claims) find(path string) (any, bool) {
	if claim, ok := c[path]; ok {
		return claim, true
	}
	name, rest, _ := strings.Cut(path, ".")
	inner, ok := c[name].(map[string]any)
	if !ok || rest == "" {
		return nil, false
	}
	return Claims(inner).find(rest)
}

// audiences returns aud, which is one string or a list of them.
func (c Claims) audiences() []string {
	switch aud := c["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		var list []string
		for _, a := range aud {
			if s, ok := a.(string); ok {
				list = append(list, s)
			}
		}
		return list
	default:
		return nil
	}
}

// checkTimes refuses a token that has expired, or whose time has not come. A
// token without exp would be valid for ever, and cannot be taken back.
func (c Claims) checkTimes(now time.Time, leeway time.Duration) error {
	expires, ok, err := c.seconds("exp")
	if err != nil {
		return err
	}
	if !ok {
		return claimErrorf("The token has no expiry (exp)")
	}
	at, skew := float64(now.UnixMilli())/1000, leeway.Seconds()
	if at >= expires+skew {
		return claimErrorf("The token has expired")
	}
	for _, name := range []string{"nbf", "iat"} {
		from, ok, err := c.seconds(name)
		if err != nil {
			return err
		}
		if ok && at < from-skew {
			return claimErrorf("The token is not valid yet (%s)", name)
		}
	}
	return nil
}

// seconds returns a NumericDate, which may have a fraction. As a float64 no
// date overflows.
func (c Claims) seconds(name string) (t float64, ok bool, err error) {
	claim, ok := c[name]
	if !ok {
		return 0, false, nil
	}
	t, number := claim.(float64)
	if !number {
		return 0, true, claimErrorf("The token's claim %s must be a number of seconds", name)
	}
	return t, true, nil
}
