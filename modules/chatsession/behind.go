package chatsession

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// warnOfNothingBehind warns of sessions of this server whose messages reach no model.
// A handler does not know the next ones before it serves, so it reads the
// configuration of the routes: those that are not provisioned yet still have theirs.
func (h *Handler) warnOfNothingBehind(ctx caddy.Context) {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	list := make([]chainRoute, len(srv.Routes))
	for i, r := range srv.Routes {
		list[i] = chainRoute{Group: r.Group, Terminal: r.Terminal, Handle: r.HandlersRaw}
	}
	walkRoutes(list, false, func(path string) {
		if h.app.FirstTime("nothing behind " + path) {
			h.log.Warn("no handler behind chat_session answers its requests to the model: add ai_gateway, or a reverse_proxy to a server with OpenAI's API",
				zap.String("path", path), zap.Strings("listen", srv.Listen))
		}
	})
}

// chainRoute is the part of a route that decides on what comes next.
type chainRoute struct {
	Group    string            `json:"group"`
	Terminal bool              `json:"terminal"`
	Handle   []json.RawMessage `json:"handle"`
}

// chainHandler is the part of a handler that is needed here.
type chainHandler struct {
	Handler string       `json:"handler"`
	Path    string       `json:"path"`
	Routes  []chainRoute `json:"routes"`
}

// notModels are Caddy's and this project's handlers that answer no chat completions
// request. Those of other plugins may.
var notModels = map[string]bool{
	"acme_server": true, "authentication": true, "chat_ratelimit": true, "chat_session": true, "copy_response_headers": true,
	"encode": true, "error": true, "file_server": true, "headers": true, "intercept": true, "log_append": true, "map": true,
	"metrics": true, "push": true, "request_body": true, "rewrite": true, "static_response": true, "templates": true,
	"tenant_resolve": true, "tracing": true, "vars": true,
}

// walkRoutes calls found for each session in a list of routes that has no model behind
// it. follows says whether there is one behind the list. Matchers do not count, except
// that of the routes of a group only one runs.
func walkRoutes(list []chainRoute, follows bool, found func(path string)) {
	for i, r := range list {
		behind := follows && !r.Terminal
		for _, later := range list[i+1:] {
			exclusive := r.Group != "" && r.Group == later.Group
			behind = behind || !r.Terminal && !exclusive && later.hasModel()
		}
		walkHandlers(r.handlers(), behind, found)
	}
}

func walkHandlers(list []chainHandler, follows bool, found func(path string)) {
	for _, h := range slices.Backward(list) {
		if h.Handler == "chat_session" && !follows {
			found(cmp.Or(h.Path, defaultPath))
		}
		walkRoutes(h.Routes, follows, found)
		follows = follows || h.hasModel()
	}
}

// handlers decodes the handlers, which may be loaded and gone already.
func (r chainRoute) handlers() []chainHandler {
	list := make([]chainHandler, len(r.Handle))
	for i, raw := range r.Handle {
		if json.Unmarshal(raw, &list[i]) != nil {
			list[i] = chainHandler{Handler: "unknown"} // its options of these names have other types
		}
	}
	return list
}

func (r chainRoute) hasModel() bool {
	for _, h := range r.handlers() {
		if h.hasModel() {
			return true
		}
	}
	return false
}

func (h chainHandler) hasModel() bool {
	if h.Handler != "subroute" {
		return !notModels[h.Handler]
	}
	for _, r := range h.Routes {
		if r.hasModel() {
			return true
		}
	}
	return false
}
