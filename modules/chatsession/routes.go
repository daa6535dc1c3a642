package chatsession

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// route is one of the handler's routes.
type route int

const (
	routePost route = iota
	routeList
	routeHistory
	routeDelete
	routeStream
	routeCancel
)

// routes maps a path and a method to a route. The path is what follows the
// session's id, or * for the mount path itself.
var routes = map[string]map[string]route{
	"*":       {http.MethodPost: routePost, http.MethodGet: routeList},
	"":        {http.MethodDelete: routeDelete},
	"history": {http.MethodGet: routeHistory},
	"stream":  {http.MethodGet: routeStream},
	"cancel":  {http.MethodPost: routeCancel},
}

// subpath returns what follows the mount path, and whether path is below it at
// all: /chat and /chat/x are, /chatter is not.
func (h *Handler) subpath(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, h.Path)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return strings.Trim(rest, "/"), true
}

// match returns the route of a request and the id of the session in its path.
func match(path, method string) (route, string, error) {
	shape, id := "*", ""
	if path != "" {
		id, shape, _ = strings.Cut(path, "/")
	}
	methods, ok := routes[shape]
	if !ok || (shape == "*" && path != "") {
		return 0, "", apierror.NotFound()
	}
	if method == http.MethodHead {
		method = http.MethodGet // the server leaves the body out
	}
	rt, ok := methods[method]
	named, valid := canonicalID(id)
	switch {
	case !ok && shape != "*" && !valid:
		return 0, "", apierror.NotFound() // such as OpenAI's completions, without /v1
	case !ok:
		return 0, "", apierror.MethodNotAllowed(allowed(methods))
	case shape != "*" && !valid:
		return 0, "", apierror.SessionNotFound()
	}
	return rt, named, nil
}

func allowed(methods map[string]route) string {
	var list []string
	for m := range methods {
		list = append(list, m)
		if m == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// canonicalID returns a session id in lower case, and whether it is a UUID in its
// usual form.
func canonicalID(s string) (string, bool) {
	const length = 36 // uuid.Parse also accepts other forms
	if len(s) != length {
		return "", false
	}
	id, err := uuid.Parse(s)
	return id.String(), err == nil
}
