package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(noted{})
}

// noted is an event handler that appends the data of each event to a file:
//
//	on <event> noted <file>
type noted struct {
	File string `json:"file,omitempty"`
}

func (noted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.noted", New: func() caddy.Module { return new(noted) }}
}

func (n *noted) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&n.File) {
		return d.ArgErr()
	}
	return nil
}

func (n *noted) Handle(_ context.Context, e caddy.Event) error {
	doc, err := json.Marshal(e.Data)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(n.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(doc, '\n'))
	return err
}
