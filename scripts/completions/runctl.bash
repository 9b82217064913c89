# Completion of runctl for bash: sourced, or put as "runctl" into
# $PREFIX/share/bash-completion/completions. Needs nothing but bash.

_runctl_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

_runctl_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_runctl() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
  # bash makes a word of the "=" in --flag=value.
  if [[ $current == "=" ]]; then
    current=
  elif [[ $before == "=" ]]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  COMPREPLY=()

  local global="--help --store --index --config --endpoint-url --region --profile --addressing-style --ca-bundle
                --no-sign-request --cache-dir --cache-size --cache-max-age --no-cache --json --quiet --verbose --color --progress
                --metrics-file --version"
  case $before in
    --color | --progress) _runctl_words "auto always never" "$current"; return ;;
    --addressing-style) _runctl_words "auto path virtual" "$current"; return ;;
    --on-error) _runctl_words "continue stop" "$current"; return ;;
    --order) _runctl_words "newest oldest" "$current"; return ;;
    --format)
      if [[ " ${COMP_WORDS[*]} " == *" get "* ]]; then _runctl_words "json tree" "$current"
      else _runctl_words "table ndjson csv ids" "$current"; fi
      return ;;
    --store | --cache-dir) _runctl_files -d "$current"; return ;;
    --index | --config | --ca-bundle | --rejects | --output | --input | --save | --compare | --budget | --html | --show | --generate | \
      --metrics-file) _runctl_files -f "$current"; return ;;
    --endpoint-url | --region | --profile | --since | --expect-count | --batch-bytes | --flush-interval | --spool-max | --max-run-bytes | \
      --level | --jobs | --metadata-entries | --field | --trace | --trace-id | --name | --name-contains | --name-prefix | \
      --run-type | --tag | --metadata | --until | --min-latency | --max-latency | --limit | --after | \
      --cache-size | --cache-max-age | --max-size | --older-than | --runs | --payload | --seed | --repeat | --writers | --readers | \
      --max-regress) return ;;
  esac

  # The command and its subcommand: the first words that are no flag and no flag's value.
  local command="" subcommand="" i word
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case $word in
      --store | --index | --config | --endpoint-url | --region | --profile | --addressing-style | --ca-bundle | \
        --cache-dir | --cache-size | --cache-max-age | --color | --progress | --metrics-file)
        if [[ ${COMP_WORDS[i+1]} == "=" ]]; then ((i += 2)); else ((i += 1)); fi ;;
      -*) ;;
      *)
        if [[ -z $command ]]; then
          command=$word
        else
          subcommand=$word
          break
        fi ;;
    esac
  done

  local filters="--trace-id --name --name-contains --name-prefix --run-type --tag --metadata --error --no-error --since
                 --until --min-latency --max-latency"
  local own=""
  case $command in
    ingest) own="--rejects --on-error --expect-count --dry-run --print-ids --new-ids --follow --spool-max --drain --no-sync
                 --batch-bytes --flush-interval --max-run-bytes --metadata-entries --level --jobs" ;;
    get) own="--field --trace --format --all-runs --all-versions --no-sync --pretty --output" ;;
    search) own="$filters --limit --order --after --count --format --full --no-sync" ;;
    index) [[ $subcommand != sync ]] || own="--since" ;;
    cache)
      case $subcommand in
        clean) own="--max-size --older-than --dry-run" ;;
        warm) own="--trace $filters --no-sync" ;;
      esac ;;
    bench) own="--runs --payload --input --seed --repeat --writers --readers --save --compare --max-regress --budget
                --html --show --generate" ;;
    verify) own="--read-data --repair" ;;
    doctor) own="--clear-leftovers" ;;
  esac
  if [[ $current == -* ]]; then
    _runctl_words "$own $global" "$current"
    return
  fi
  case $command in
    "") _runctl_words "ingest get search index cache bench verify doctor" "$current" ;;
    ingest) _runctl_files -f "$current" ;;
    cache) [[ -n $subcommand ]] || _runctl_words "stats clean clear verify warm path" "$current" ;;
    bench) _runctl_words "50x10KB 200x25KB 500x10KB 1000x5KB 50x100KB 100x50KB 10x1MB small concurrent all" "$current" ;;
    index) [[ -n $subcommand ]] || _runctl_words "status sync rebuild" "$current" ;;
  esac
}

complete -F _runctl runctl
