"""`python -m trm_deploy` is `trm-deploy`."""

from trm_deploy.cli import main

if __name__ == "__main__":
    main()
