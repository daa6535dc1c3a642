package chatsession

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/chat"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("chat_session", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("chat_session", httpcaddyfile.Before, "templates")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, chat.CheckNamedTenant(h, handler.Tenant)
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
//	    read_timeout      <duration>
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
	once := make(advice.Once)
	for d.NextBlock(0) {
		name := d.Val()
		setters := h.setters()
		set, ok := setters[name]
		if !ok {
			names := slices.Sorted(maps.Keys(setters))
			return d.Errf("unrecognized subdirective '%s', want one of: %s%s", name, strings.Join(names, ", "), advice.Nearest(name, names...))
		}
		once.Warn(d)
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

// setters returns a function for each subdirective, which parses and sets its
// value.
func (h *Handler) setters() map[string]func(string) error {
	return map[string]func(string) error{
		"path":              h.setPath,
		"retention":         parsed(&h.Retention, chat.ParseDuration),
		"max_messages":      count(&h.MaxMessages),
		"context_messages":  optionalCount(&h.ContextMessages),
		"context_tokens":    optionalCount(&h.ContextTokens),
		"max_message_chars": count(&h.MaxMessageChars),
		"max_body":          parsed(&h.MaxBody, chat.ParseSize),
		"read_timeout":      parsed(&h.ReadTimeout, chat.ParseDuration),
		"system":            text(&h.System),
		"on_disconnect":     h.setOnDisconnect,
		"resume_window":     parsed(&h.ResumeWindow, chat.ParseDuration),
		"keep_alive":        parsed(&h.KeepAlive, chat.ParseDuration),
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

// parsed returns a setter that parses its value with parse.
func parsed[T any](field *T, parse func(string) (T, error)) func(string) error {
	return func(s string) (err error) {
		*field, err = parse(s)
		return err
	}
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
