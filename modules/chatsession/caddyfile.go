package chatsession

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("chat_session", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("chat_session", httpcaddyfile.Before, "templates")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	return handler, err
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	chat_session [<matcher>] {
//	    path              <path>
//	    retention         <duration>
//	    max_messages      <count>
//	    context_messages  <count>
//	    context_tokens    <count>
//	    max_message_chars <count>
//	    max_body          <size>
//	    system            <prompt>
//	    on_disconnect     continue|cancel
//	    resume_window     <duration>
//	    keep_alive        <duration>
//	    tenant            <id>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		name := d.Val()
		setters := h.setters()
		set, ok := setters[name]
		if !ok {
			return d.Errf("unrecognized subdirective '%s', want one of: %s", name, strings.Join(slices.Sorted(maps.Keys(setters)), ", "))
		}
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		if err := set(value); err != nil {
			return d.Errf("%s: %v", name, err)
		}
	}
	return nil
}

// setters read the value of each subdirective.
func (h *Handler) setters() map[string]func(string) error {
	return map[string]func(string) error{
		"path":              h.setPath,
		"retention":         duration(&h.Retention),
		"max_messages":      count(&h.MaxMessages),
		"context_messages":  optionalCount(&h.ContextMessages),
		"context_tokens":    optionalCount(&h.ContextTokens),
		"max_message_chars": count(&h.MaxMessageChars),
		"max_body":          size(&h.MaxBody),
		"system":            text(&h.System),
		"on_disconnect":     h.setOnDisconnect,
		"resume_window":     duration(&h.ResumeWindow),
		"keep_alive":        duration(&h.KeepAlive),
		"tenant":            text(&h.Tenant),
	}
}

func (h *Handler) setPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.Trim(s, "/") == "" {
		return fmt.Errorf("%q: want a path such as /chat", s)
	}
	h.Path = s
	return nil
}

func (h *Handler) setOnDisconnect(s string) error {
	if s != disconnectContinue && s != disconnectCancel {
		return fmt.Errorf("%q: want continue or cancel", s)
	}
	h.OnDisconnect = s
	return nil
}

func text(field *string) func(string) error {
	return func(s string) error {
		*field = s
		return nil
	}
}

func duration(field *caddy.Duration) func(string) error {
	return func(s string) error {
		d, err := caddy.ParseDuration(s)
		if err != nil || d <= 0 {
			return fmt.Errorf("%q: want a duration such as 30s or 30d", s)
		}
		*field = caddy.Duration(d)
		return nil
	}
}

func count(field *int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("%q: want a whole number of at least 1", s)
		}
		*field = n
		return nil
	}
}

func optionalCount(field **int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return fmt.Errorf("%q: want a whole number, 0 for none", s)
		}
		*field = &n
		return nil
	}
}

func size(field *int64) func(string) error {
	return func(s string) error {
		n, err := humanize.ParseBytes(s)
		if err != nil || n < 1 || n > math.MaxInt64/2 {
			return fmt.Errorf("%q: want a size such as 64KiB", s)
		}
		*field = int64(n)
		return nil
	}
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
