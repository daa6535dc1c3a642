package chat

import (
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// ParseDuration reads a duration of a directive, which must be positive.
func ParseDuration(s string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q: want a duration such as 30s or 30d", s)
	}
	return caddy.Duration(d), nil
}

// ParseSize reads a size of a directive, in bytes, which must be positive.
func ParseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n < 1 || n > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q: want a size such as 64KiB or 10MiB", s)
	}
	return int64(n), nil
}
