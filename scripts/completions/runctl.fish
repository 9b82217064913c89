# Completion of runctl for fish: put into a directory of $fish_complete_path.

complete -c runctl -f

# The program
complete -c runctl -s h -l help -d 'Print the flags'
complete -c runctl -l store -x -a '(__fish_complete_directories)' -d 'Where the runs are kept'
complete -c runctl -l index -r -F -d 'The index file'
complete -c runctl -l config -r -F -d 'The config file'
complete -c runctl -l endpoint-url -x -d 'S3: the server'
complete -c runctl -l region -x -d 'S3: the region of the bucket'
complete -c runctl -l profile -x -d 'S3: the profile of the shared AWS files'
complete -c runctl -l addressing-style -x -a 'auto path virtual' -d 'S3: where the bucket is named'
complete -c runctl -l ca-bundle -r -F -d 'S3: the authorities to trust'
complete -c runctl -l no-sign-request -d 'S3: send no credentials'
complete -c runctl -l json -d 'Print reports as one JSON object'
complete -c runctl -s q -l quiet -d 'Print errors only'
complete -c runctl -s v -l verbose -d 'Tell more on standard error'
complete -c runctl -l color -x -a 'auto always never' -d 'Whether to use colour'
complete -c runctl -l progress -x -a 'auto always never' -d 'Whether to show progress'
complete -c runctl -l version -d 'Print the version'

# Its commands
complete -c runctl -n __fish_use_subcommand -a ingest -d 'Read runs, pack them into batches, store them'
complete -c runctl -n __fish_use_subcommand -a get -d 'Print runs by id'
complete -c runctl -n __fish_use_subcommand -a index -d 'The local index'
complete -c runctl -n __fish_use_subcommand -a verify -d 'Prove that the store is whole'
complete -c runctl -n __fish_use_subcommand -a doctor -d 'Check configuration, store and index'

# ingest
set -l ingest '__fish_seen_subcommand_from ingest'
complete -c runctl -n $ingest -F
complete -c runctl -n $ingest -l rejects -r -F -d 'Write rejected records here'
complete -c runctl -n $ingest -l on-error -x -a 'continue stop' -d 'What to do at a rejected record'
complete -c runctl -n $ingest -l expect-count -x -d 'Exit 3 unless so many records were read'
complete -c runctl -n $ingest -l dry-run -d 'Read and check, store nothing'
complete -c runctl -n $ingest -l no-sync -d 'Do not look first at what the store holds'
complete -c runctl -n $ingest -l print-ids -d 'Print the id of every stored run'
complete -c runctl -n $ingest -l new-ids -d 'Give runs without an id a fresh one'
complete -c runctl -n $ingest -l batch-bytes -x -d 'Bytes of runs in a batch'
complete -c runctl -n $ingest -l flush-interval -x -d 'Store what came through a pipe so long after'
complete -c runctl -n $ingest -l max-run-bytes -x -d 'Reject longer runs'
complete -c runctl -n $ingest -l level -x -d 'zstd compression level, 1 to 22'
complete -c runctl -n $ingest -l jobs -x -d 'Threads'

# get
set -l get '__fish_seen_subcommand_from get'
complete -c runctl -n $get -l field -x -d 'Print only this field'
complete -c runctl -n $get -l trace -x -d 'Print all runs of this trace'
complete -c runctl -n $get -l all-versions -d 'Print every version of a run'
complete -c runctl -n $get -l no-sync -d 'Do not look into the store for unknown ids'
complete -c runctl -n $get -l pretty -d 'Indent the JSON'
complete -c runctl -n $get -l output -r -F -d 'Write here'

# index
set -l index '__fish_seen_subcommand_from index; and not __fish_seen_subcommand_from status sync rebuild'
complete -c runctl -n $index -a status -d 'Tell what the index knows'
complete -c runctl -n $index -a sync -d 'Add what others have stored'
complete -c runctl -n $index -a rebuild -d 'Make the index anew from the store'
set -l sync '__fish_seen_subcommand_from index; and __fish_seen_subcommand_from sync'
complete -c runctl -n $sync -l since -x -d 'Look only at the days since then'

# verify
set -l verify '__fish_seen_subcommand_from verify'
complete -c runctl -n $verify -l read-data -d 'Read the runs too, or a part of them'
complete -c runctl -n $verify -l repair -d 'Add to the index what only the store has'

# doctor
set -l doctor '__fish_seen_subcommand_from doctor'
complete -c runctl -n $doctor -l clear-leftovers -d 'Remove what interrupted commands left behind'
