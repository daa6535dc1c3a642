package chat

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// tenantFiles are the files of the tenants option. Each counts by itself: one
// that is broken keeps the tenant that it had, one that is removed takes its
// tenant along. Only the fields at the end may be used at once.
type tenantFiles struct {
	patterns []string
	blocks   []*tenant.Tenant // of the configuration; they take precedence
	repl     *caddy.Replacer

	byName     map[string]*tenantFile
	sorted     []*tenantFile    // by name, to be the same after every start
	unreadable map[string]error // folders whose files stay as they were
	reported   map[string]bool  // those of them that were reported
	changed    bool             // something is not in the registry yet

	loaded, broken atomic.Int64
}

// tenantFile is what is known of one file.
type tenantFile struct {
	name   string
	stamp  fileStamp
	target string // the folder that a symbolic link leads to; empty for other files

	wanted *tenant.Tenant // what the file says; nil if it cannot be read
	have   *tenant.Tenant // in the registry; nil if the tenant is away
	err    error          // why wanted is not in the registry
	logged string         // the error that was reported last
}

// fileStamp changes when a file is written or replaced.
type fileStamp struct {
	size, modified int64
	mode           fs.FileMode
}

// fileFailure is a file that has become broken.
type fileFailure struct {
	err  error
	kept string // the tenant that stays as it was; empty if it is away
}

func newTenantFiles(patterns []string, blocks []*tenant.Tenant, repl *caddy.Replacer) (*tenantFiles, error) {
	f := &tenantFiles{blocks: blocks, repl: repl, byName: make(map[string]*tenantFile), reported: make(map[string]bool), changed: true}
	for _, pattern := range patterns {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("tenants: pattern %q: %w", pattern, err)
		}
		f.patterns = append(f.patterns, filepath.Clean(pattern))
	}
	return f, nil
}

// lookAtAll looks for files that have come, gone or changed, and reads those. It
// returns the tenants, nil if they are the same, and what is broken since the
// last look.
func (f *tenantFiles) lookAtAll() (*tenant.Registry, []fileFailure) {
	names := f.find()
	for _, name := range names {
		f.lookAt(name, false)
	}
	if len(f.byName) > len(names) {
		f.forgetAllBut(names)
	}
	return f.apply()
}

// lookAtThese reads the named files again.
func (f *tenantFiles) lookAtThese(names []string) (*tenant.Registry, []fileFailure) {
	for _, name := range names {
		f.lookAt(name, true)
	}
	return f.apply()
}

// find returns the files that the patterns match, each once, in order.
func (f *tenantFiles) find() []string {
	f.unreadable = make(map[string]error)
	var names []string
	for _, pattern := range f.patterns {
		if !hasWildcard(pattern) {
			names = append(names, pattern)
			continue
		}
		found := slices.DeleteFunc(f.glob(pattern), func(name string) bool { return isHidden(name, pattern) })
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// glob is filepath.Glob, except that a folder that cannot be read is not taken for
// an empty one.
func (f *tenantFiles) glob(pattern string) []string {
	var names []string
	for _, dir := range f.foldersOf(pattern) {
		entries, err := readNames(dir)
		if err != nil {
			f.unreadable[dir] = err
			continue
		}
		for _, entry := range entries {
			if ok, _ := filepath.Match(filepath.Base(pattern), entry); ok {
				names = append(names, filepath.Join(dir, entry))
			}
		}
	}
	return names
}

// foldersOf returns the folders in which files of the pattern may be.
func (f *tenantFiles) foldersOf(pattern string) []string {
	dir := filepath.Dir(pattern)
	if !hasWildcard(dir) {
		return []string{dir}
	}
	return f.glob(dir)
}

// readNames returns the names in a folder, none if there is no such folder.
func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if info, err := d.Stat(); err == nil && !info.IsDir() {
		return nil, nil // a file that matches the pattern of a folder
	}
	return d.Readdirnames(-1)
}

// isHidden reports whether a name begins with a dot and the pattern does not, as
// the temporary files of editors do.
func isHidden(name, pattern string) bool {
	return strings.HasPrefix(filepath.Base(name), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
}

// matches reports whether one of the patterns matches a file.
func (f *tenantFiles) matches(name string) bool {
	return slices.ContainsFunc(f.patterns, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, name)
		return ok && !isHidden(name, pattern) || pattern == name
	})
}

// isNamed reports whether the configuration names the file itself.
func (f *tenantFiles) isNamed(name string) bool { return slices.Contains(f.patterns, name) }

func (f *tenantFiles) forgetAllBut(sorted []string) {
	for name := range f.byName {
		if _, ok := slices.BinarySearch(sorted, name); !ok && !f.isUnreadable(name) {
			delete(f.byName, name)
			f.changed = true
		}
	}
}

// isUnreadable reports whether a file is in a folder that cannot be read.
func (f *tenantFiles) isUnreadable(name string) bool {
	for dir := range f.unreadable {
		if strings.HasPrefix(name, dir+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// lookAt reads a file if it has changed, or in any case.
func (f *tenantFiles) lookAt(name string, inAnyCase bool) {
	e := f.byName[name]
	stamp, link, err := stampOf(name)
	if errors.Is(err, fs.ErrNotExist) && !link && !f.isNamed(name) {
		if e != nil {
			delete(f.byName, name)
			f.changed = true
		}
		return
	}
	if e == nil {
		e = &tenantFile{name: name}
		f.byName[name] = e
	}
	if err == nil && stamp == e.stamp && !inAnyCase {
		return
	}
	f.changed = true
	e.stamp, e.target = stamp, ""
	if link {
		e.target = targetOf(name)
	}
	e.wanted, e.err = readTenantFile(name, f.repl)
}

func stampOf(name string) (s fileStamp, link bool, err error) {
	info, err := os.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		link = true
		info, err = os.Stat(name)
	}
	if err != nil {
		return s, link, err
	}
	return fileStamp{info.Size(), info.ModTime().UnixNano(), info.Mode()}, link, nil
}

func targetOf(link string) string {
	target, err := filepath.EvalSymlinks(link)
	if err != nil {
		return ""
	}
	return filepath.Dir(target)
}

// apply makes a registry of what the files say. A file whose tenant conflicts with
// another one is broken: the tenants that are there stay, and of new ones the
// first by name counts.
func (f *tenantFiles) apply() (*tenant.Registry, []fileFailure) {
	if !f.changed {
		return nil, f.settle()
	}
	f.changed = false
	f.sort()
	changed := f.waiting()
	for {
		reg, conflicts := f.build(changed)
		if !conflicts {
			return reg, f.settle()
		}
		// what these have had must not be taken by others
		changed = slices.DeleteFunc(changed, func(e *tenantFile) bool { return e.err != nil })
	}
}

func (f *tenantFiles) sort() {
	if len(f.sorted) == len(f.byName) && !slices.ContainsFunc(f.sorted, func(e *tenantFile) bool { return f.byName[e.name] != e }) {
		return
	}
	f.sorted = f.sorted[:0]
	for _, e := range f.byName {
		f.sorted = append(f.sorted, e)
	}
	slices.SortFunc(f.sorted, func(a, b *tenantFile) int { return strings.Compare(a.name, b.name) })
}

// waiting returns the files whose tenants are not in the registry yet.
func (f *tenantFiles) waiting() []*tenantFile {
	var list []*tenantFile
	for _, e := range f.sorted {
		if e.wanted != nil && e.wanted != e.have {
			e.err = nil
			list = append(list, e)
		}
	}
	return list
}

// build makes a registry of the tenant blocks, of the tenants that stay, and of
// the changed ones. conflicts says that one of the latter has to stay as it was,
// which needs another attempt.
func (f *tenantFiles) build(changed []*tenantFile) (reg *tenant.Registry, conflicts bool) {
	b := tenant.NewBuilder(len(f.blocks) + len(f.sorted))
	for _, t := range f.blocks {
		_ = b.Add(t) // they do not conflict: provisionTenants has checked it
	}
	for _, e := range f.sorted {
		if e.have == nil || e.err == nil && e.wanted != e.have {
			continue
		}
		if err := b.Add(e.have); err != nil {
			e.have, e.err = nil, err
		}
	}
	for _, e := range changed {
		if err := b.Add(e.wanted); err != nil {
			e.err = err
			conflicts = conflicts || e.have != nil
		}
	}
	return b.Registry(), conflicts
}

// settle notes what is in the registry, and returns the files that have become
// broken.
func (f *tenantFiles) settle() []fileFailure {
	failed, broken := f.newlyUnreadable(), int64(0)
	for _, e := range f.sorted {
		if e.err == nil {
			e.have, e.logged = e.wanted, ""
			continue
		}
		broken++
		if e.logged == e.err.Error() {
			continue
		}
		e.logged = e.err.Error()
		failure := fileFailure{err: e.err}
		if e.have != nil {
			failure.kept = e.have.ID
		}
		failed = append(failed, failure)
	}
	f.loaded.Store(int64(len(f.sorted)) - broken)
	f.broken.Store(broken + int64(len(f.unreadable)))
	return failed
}

// newlyUnreadable returns the folders that cannot be read since the last look.
func (f *tenantFiles) newlyUnreadable() []fileFailure {
	var failed []fileFailure
	for _, dir := range slices.Sorted(maps.Keys(f.unreadable)) {
		if !f.reported[dir] {
			failed = append(failed, fileFailure{err: fmt.Errorf("tenants: reading a folder, whose tenants stay as they were: %w", f.unreadable[dir])})
		}
	}
	clear(f.reported)
	for dir := range f.unreadable {
		f.reported[dir] = true
	}
	return failed
}
