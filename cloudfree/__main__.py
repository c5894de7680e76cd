from cloudfree.cli import main

main()
