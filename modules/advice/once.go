package advice

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// Once has the names of those subdirectives of a block that should stand there once, and
// have been seen.
type Once map[string]bool

// Add returns an error at d's line if the subdirective that d is at was there before.
func (o Once) Add(d *caddyfile.Dispenser) error {
	if o.seen(d) {
		return d.Errf("%s is given twice", d.Val())
	}
	return nil
}

// Warn logs a warning instead: the last one counts.
func (o Once) Warn(d *caddyfile.Dispenser) {
	if o.seen(d) {
		Warn(d, "%s is given twice: the last one counts", d.Val())
	}
}

func (o Once) seen(d *caddyfile.Dispenser) bool {
	before := o[d.Val()]
	o[d.Val()] = true
	return before
}
